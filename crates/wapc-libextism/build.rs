//! Keeps what the engines and `libwapc` export out of the shared library, and names it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
        // The name by which programs that are linked with it look for it.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libextism.so");
    }
}
