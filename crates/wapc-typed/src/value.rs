//! Arguments and results as JSON, by a descriptor.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::{
    Codec, CodecError, JsonCodec, MsgPackCodec,
    descriptor::Operation,
    schema::{Argument, Record, References, Type},
};

/// The reason why a payload cannot be made of JSON, or the other way round.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The operation has no such argument.
    #[error("`{operation}` has no argument `{argument}`; it has {}", .known.join(", "))]
    UnknownArgument {
        /// The operation.
        operation: String,
        /// The argument.
        argument: String,
        /// The arguments that it has.
        known: Vec<String>,
    },

    /// An argument is missing.
    #[error("`{operation}` needs the argument `{argument}`, a {ty}")]
    MissingArgument {
        /// The operation.
        operation: String,
        /// The argument.
        argument: String,
        /// Its type.
        ty: Type,
    },

    /// An argument is of another type.
    #[error("the argument `{argument}` of `{operation}` is a {ty}")]
    WrongType {
        /// The operation.
        operation: String,
        /// The argument.
        argument: String,
        /// Its type.
        ty: Type,
    },

    /// The service has an encoding without names, or one that is not built in.
    #[error("`{operation}` is encoded by {codec}, which cannot be made of names and values here")]
    Codec {
        /// The operation.
        operation: String,
        /// The encoding.
        codec: String,
    },

    /// The value cannot be encoded, or the bytes not decoded.
    #[error("the payload of `{operation}`")]
    Payload {
        /// The operation.
        operation: String,
        /// The reason.
        #[source]
        source: CodecError,
    },
}

impl Operation {
    /// Encodes arguments by their names as the payload of a call.
    ///
    /// # Errors
    ///
    /// [`ValueError`] if an argument is missing, unknown or of another type, or cannot be encoded.
    pub fn encode(&self, mut arguments: Map<String, Value>) -> Result<Vec<u8>, ValueError> {
        let operation = || self.name.clone();
        let is_known = |name: &String| self.arguments.iter().any(|it| it.name == *name);
        if let Some(argument) = arguments.keys().find(|name| !is_known(name)) {
            return Err(ValueError::UnknownArgument {
                operation: operation(),
                argument: argument.clone(),
                known: self.arguments.iter().map(|it| it.name.clone()).collect(),
            });
        }
        for Argument { name, ty } in &self.arguments {
            let (argument, ty) = (name.clone(), ty.clone());
            match arguments.get(name) {
                Some(value) if fits(value, &ty, &References::new(&ty)) => {}
                None if matches!(ty, Type::Option(_) | Type::Unit) => {}
                Some(_) => {
                    return Err(ValueError::WrongType {
                        operation: operation(),
                        argument,
                        ty,
                    });
                }
                None => {
                    return Err(ValueError::MissingArgument {
                        operation: operation(),
                        argument,
                        ty,
                    });
                }
            }
        }
        let payload = match self.arguments.as_slice() {
            [Argument { name, .. }] if self.is_unary => {
                arguments.remove(name).unwrap_or(Value::Null)
            }
            _ => Value::Object(arguments),
        };
        let mut out = Vec::new();
        let ty = self.arguments.first().filter(|_| self.is_unary);
        let encoded = match (ty.map(|it| &it.ty), self.codec.as_str()) {
            (Some(Type::Raw(_)), _) => raw(&payload, &mut out),
            (Some(Type::Json(_)), _) | (_, JsonCodec::NAME) => {
                JsonCodec::encode(&payload, &mut out)
            }
            (_, MsgPackCodec::NAME) => MsgPackCodec::encode(&payload, &mut out),
            #[cfg(feature = "cbor")]
            (_, crate::CborCodec::NAME) => crate::CborCodec::encode(&payload, &mut out),
            _ => return Err(self.unknown_codec()),
        };
        encoded.map_err(|source| ValueError::Payload {
            operation: operation(),
            source,
        })?;
        Ok(out)
    }

    /// Decodes a response as JSON. Bytes become a list of numbers, or text if the whole response is,
    /// and keys of maps text.
    ///
    /// # Errors
    ///
    /// [`ValueError`] if the response is not of the operation's encoding.
    pub fn decode(&self, response: &[u8]) -> Result<Value, ValueError> {
        let decoded = match (&self.result, self.codec.as_str()) {
            (Type::Raw(_), _) => Ok(AnyValue(match str::from_utf8(response) {
                Ok(text) => text.into(),
                Err(_) => response.into(),
            })),
            (Type::Json(_), _) | (_, JsonCodec::NAME) => JsonCodec::decode(response),
            (_, MsgPackCodec::NAME) => MsgPackCodec::decode(response),
            #[cfg(feature = "cbor")]
            (_, crate::CborCodec::NAME) => crate::CborCodec::decode(response),
            _ => return Err(self.unknown_codec()),
        };
        let AnyValue(value) = decoded.map_err(|source| ValueError::Payload {
            operation: self.name.clone(),
            source,
        })?;
        Ok(value)
    }

    fn unknown_codec(&self) -> ValueError {
        ValueError::Codec {
            operation: self.name.clone(),
            codec: self.codec.clone(),
        }
    }
}

/// Appends a text, or a list of bytes, as it is.
fn raw(value: &Value, out: &mut Vec<u8>) -> Result<(), CodecError> {
    match value {
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        Value::Array(bytes) => {
            let byte = |byte: &Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
            out.extend(bytes.iter().filter_map(byte));
        }
        _ => {
            return Err(CodecError::new(
                "a raw payload is a text or a list of bytes",
            ));
        }
    }
    Ok(())
}

/// Returns `true` if the value is of the type, as far as JSON tells.
fn fits(value: &Value, ty: &Type, references: &References<'_>) -> bool {
    let fits = |value, ty| fits(value, ty, references);
    let Some(ty) = references.resolve(ty) else {
        return true;
    };
    match (ty, value) {
        (Type::Other(_), _) | (Type::Bool, Value::Bool(_)) | (Type::String, Value::String(_)) => {
            true
        }
        (Type::Unit | Type::Option(_), Value::Null) => true,
        (Type::Raw(_), Value::String(_)) => true,
        (Type::Raw(_), Value::Array(bytes)) => bytes.iter().all(|it| number(it, 0, u8::MAX.into())),
        (Type::Option(ty) | Type::Json(ty), value) => fits(value, ty),
        (Type::F32 | Type::F64, Value::Number(_)) => true,
        (Type::U64, Value::Number(number)) => number.is_u64(),
        (Type::I64, Value::Number(number)) => number.is_i64(),
        (Type::U8, value) => number(value, 0, u8::MAX.into()),
        (Type::U16, value) => number(value, 0, u16::MAX.into()),
        (Type::U32, value) => number(value, 0, u32::MAX.into()),
        (Type::I8, value) => number(value, i8::MIN.into(), i8::MAX.into()),
        (Type::I16, value) => number(value, i16::MIN.into(), i16::MAX.into()),
        (Type::I32, value) => number(value, i32::MIN.into(), i32::MAX.into()),
        (Type::List(ty), Value::Array(values)) => values.iter().all(|value| fits(value, ty)),
        (Type::Map(map), Value::Object(values)) => values.values().all(|value| fits(value, &map.1)),
        (Type::Tuple(types), Value::Array(values)) => {
            types.len() == values.len()
                && values.iter().zip(types).all(|(value, ty)| fits(value, ty))
        }
        (Type::Record(Record { fields, .. }), Value::Object(values)) => {
            fields.iter().all(|field| match values.get(&field.name) {
                Some(value) => fits(value, &field.ty),
                None => field.is_optional(),
            })
        }
        (Type::Enum(it), Value::String(name)) => {
            let mut variants = it.variants.iter();
            variants.any(|variant| variant.name == *name && variant.ty.is_none())
        }
        (Type::Enum(it), Value::Object(values)) if values.len() == 1 => {
            values.iter().all(|(name, value)| {
                let mut variants = it.variants.iter().filter(|variant| variant.name == *name);
                variants.any(|variant| variant.ty.as_ref().is_some_and(|ty| fits(value, ty)))
            })
        }
        _ => false,
    }
}

fn number(value: &Value, least: i64, most: i64) -> bool {
    value
        .as_i64()
        .is_some_and(|number| (least..=most).contains(&number))
}

/// Any value of an encoding that has types, as JSON.
pub(crate) struct AnyValue(pub(crate) Value);

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(Self)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has a form for")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // JSON has no infinity.
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        // Not by the length that the payload claims.
        let mut list = Vec::new();
        while let Some(AnyValue(value)) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((AnyValue(key), AnyValue(value))) = entries.next_entry()? {
            let key = match key {
                Value::String(key) => key,
                other => other.to_string(),
            };
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a map has a key twice"));
            }
        }
        Ok(Value::Object(map))
    }
}
