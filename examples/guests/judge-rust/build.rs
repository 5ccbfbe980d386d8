//! The stack of the guest: 64 KiB, not the 1 MiB that Rust asks the linker for. Every call gets a memory of
//! its own, so what is not there need not be made and wiped.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size=65536");
    }
}
