//! One service by each codec.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
use wapc_typed::{CallAs, Cbor, Json, MsgPack, Postcard, Raw, Serve, service};

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Point {
    x: i32,
    y: Option<i32>,
    name: String,
}

/// Returns a host whose guest is a server.
fn host(server: impl Serve + Clone + Send + Sync + 'static) -> WapcHost {
    let provider = ScriptedProvider::new(move |guest, op_length, msg_length| {
        let (operation, payload) = guest.request(op_length, msg_length)?;
        let mut response = vec![];
        match server.serve(&Default::default(), &operation, &payload, &mut response) {
            Ok(()) => guest.respond(&response),
            Err(error) => guest.fail(error.to_string().as_bytes()),
        }
    });
    provider.host().expect("a host")
}

macro_rules! by {
    ($name:ident, $codec:ty, $contract:ident, $client:ident, $server:ident, $names_fields:literal) => {
        mod $name {
            use super::*;

            #[service(codec = $codec)]
            pub(super) trait $contract {
                fn mirrored(&self, point: Point, times: u8) -> Result<Vec<Point>, Point>;
                fn nothing(&self) -> Result<(), String>;
                fn unit(&self, unit: ()) -> Result<(), String>;
                fn optional(&self, number: Option<u8>) -> Result<Option<u8>, String>;
                #[wapc(unary)]
                fn length(&self, text: String) -> Result<u64, String>;
                #[wapc(unary)]
                fn json(&self, point: Json<Point>) -> Result<Raw<String>, String>;
                fn lent(&self, text: &str, body: &[u8]) -> Result<Vec<u8>, String>;
                #[wapc(unary)]
                fn lent_whole(&self, body: &[u8]) -> Result<Vec<u8>, String>;
            }

            #[derive(Clone, Copy)]
            struct Mirror;

            impl $contract for Mirror {
                fn mirrored(&self, point: Point, times: u8) -> Result<Vec<Point>, Point> {
                    match times {
                        0 => Err(point),
                        times => Ok(vec![Point { x: -point.x, ..point }; times.into()]),
                    }
                }

                fn nothing(&self) -> Result<(), String> {
                    Ok(())
                }

                fn unit(&self, (): ()) -> Result<(), String> {
                    Ok(())
                }

                fn optional(&self, number: Option<u8>) -> Result<Option<u8>, String> {
                    Ok(number)
                }

                fn length(&self, text: String) -> Result<u64, String> {
                    u64::try_from(text.len()).map_err(|error| error.to_string())
                }

                fn json(&self, Json(point): Json<Point>) -> Result<Raw<String>, String> {
                    Ok(Raw(point.name))
                }

                fn lent(&self, text: &str, body: &[u8]) -> Result<Vec<u8>, String> {
                    Ok([text.as_bytes(), body].concat())
                }

                fn lent_whole(&self, body: &[u8]) -> Result<Vec<u8>, String> {
                    Ok(body.to_vec())
                }
            }

            mod owned {
                #[wapc_typed::service(codec = $codec)]
                pub(super) trait $contract {
                    fn lent(&self, text: String, body: Vec<u8>) -> Result<Vec<u8>, String>;
                    #[wapc(unary)]
                    fn lent_whole(&self, body: Vec<u8>) -> Result<Vec<u8>, String>;
                }
            }

            impl owned::$contract for Mirror {
                fn lent(&self, text: String, body: Vec<u8>) -> Result<Vec<u8>, String> {
                    $contract::lent(self, &text, &body)
                }

                fn lent_whole(&self, body: Vec<u8>) -> Result<Vec<u8>, String> {
                    Ok(body)
                }
            }

            #[test]
            fn owned_and_borrowed_arguments_are_the_same_contract() {
                let (text, body) = ("ü".repeat(5000), [0, 128, 255].repeat(5000));
                let both = [text.as_bytes(), &body].concat();
                let server = host(owned::$server::new(Mirror));
                let lends = $client::over(&server);
                assert!(lends.lent(&text, &body).unwrap() == both);
                assert!(lends.lent_whole(&body).unwrap() == body);
                let server = host($server::new(Mirror));
                let owns = owned::$client::over(&server);
                assert!(owns.lent(text, body.clone()).unwrap() == both);
                assert!(owns.lent_whole(body.clone()).unwrap() == body);
            }

            #[test]
            fn a_service_is_called() {
                let host = host($server::new(Mirror));
                let client = $client::over(&host);
                let point = Point {
                    x: 1,
                    y: None,
                    name: "ü".to_owned(),
                };
                let mirrored = client.mirrored(point.clone(), 2).unwrap();
                assert_eq!(mirrored.len(), 2);
                assert_eq!(mirrored.first().map(|it| it.x), Some(-1));
                let refused = client.mirrored(point.clone(), 0).unwrap_err();
                assert!(matches!(refused, wapc_typed::CallError::Service(it) if it == point));
                client.nothing().unwrap();
                client.unit(()).unwrap();
                assert_eq!(client.optional(Some(3)).unwrap(), Some(3));
                assert_eq!(client.optional(None).unwrap(), None);
                assert_eq!(client.length("four".to_owned()).unwrap(), 4);
                assert_eq!(client.json(Json(point)).unwrap().0, "ü");
                let (text, body) = ("\n\"ü".repeat(5000), [0, 128, 255].repeat(5000));
                let lent = client.lent(&text, &body).unwrap();
                assert!(lent == [text.as_bytes(), &body].concat());
                assert!(client.lent_whole(&body).unwrap() == body);
                assert!(client.lent_whole(&[]).unwrap().is_empty());
            }

            #[test]
            fn an_empty_payload_is_a_call_without_arguments() {
                let host = host($server::new(Mirror));
                let operation = |name: &str| format!("{}/{name}", stringify!($contract));
                host.call(&operation("nothing"), b"").unwrap();
                let optional = host.call(&operation("optional"), b"");
                assert_eq!(optional.is_ok(), $names_fields, "{optional:?}");
                let mirrored = host.call(&operation("mirrored"), b"").unwrap_err();
                assert!(mirrored.to_string().contains("cannot be decoded"), "{mirrored}");
            }
        }
    };
}

by!(
    msgpack,
    wapc_typed::MsgPackCodec,
    Packed,
    PackedClient,
    PackedServer,
    true
);
by!(
    json,
    wapc_typed::JsonCodec,
    Texts,
    TextsClient,
    TextsServer,
    true
);
by!(
    cbor,
    wapc_typed::CborCodec,
    Concise,
    ConciseClient,
    ConciseServer,
    true
);
by!(
    postcard,
    wapc_typed::PostcardCodec,
    Cards,
    CardsClient,
    CardsServer,
    false
);

#[test]
fn payloads_have_the_codec_of_their_type() {
    fn echoed<P: wapc_typed::ToPayload + wapc_typed::FromPayload + Send + PartialEq + Debug>(
        payload: P,
    ) {
        let host = ScriptedProvider::echo().host().expect("a host");
        assert_eq!(host.call_as::<P>("echo", &payload).unwrap(), payload);
    }

    echoed(MsgPack((1_u8, "a".to_owned())));
    echoed(Json((1_u8, "a".to_owned())));
    echoed(Cbor((1_u8, "a".to_owned())));
    echoed(Postcard((1_u8, "a".to_owned())));
}
