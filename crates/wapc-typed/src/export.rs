//! `export!`: a guest's start function and its descriptors.

/// Makes a guest of servers: it writes the guest's `wapc_init`, which registers them, and their
/// descriptors into the custom section `wapc.service`.
///
/// ```
/// use wapc_typed::service;
///
/// #[service(namespace = "greeting.v1")]
/// pub trait Greeter {
///     fn hello(&self, name: String) -> Result<String, String>;
/// }
///
/// #[derive(Default)]
/// struct Polite;
///
/// impl Greeter for Polite {
///     fn hello(&self, name: String) -> Result<String, String> {
///         Ok(format!("Hello, {name}."))
///     }
/// }
///
/// wapc_typed::export!(GreeterServer<Polite>);
/// ```
///
/// It stands once in a guest, and names all its servers. A guest with a `wapc_init` of its own calls
/// `register` of each server there instead; it has no descriptor then. On other machines than
/// WebAssembly's the macro writes nothing, so that a guest's crate has unit tests.
#[macro_export]
macro_rules! export {
    ($($server:ty),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[unsafe(no_mangle)]
            pub extern "C" fn wapc_init() {
                $(<$server>::register();)+
            }

            // The linker puts sections of one name together: a line for each service.
            $(const _: () = {
                const TEXT: &[u8] = <$server>::DESCRIPTOR.as_bytes();

                #[used]
                #[unsafe(link_section = "wapc.service")]
                static SECTION: [u8; TEXT.len()] = *TEXT.first_chunk().unwrap();
            };)+
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            $(const _: &str = <$server>::DESCRIPTOR;)+
        };
    };
}
