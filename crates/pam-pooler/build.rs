//! How the module is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // libpam closes a module after each login. This one keeps threads and a connection.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // By its file name: the shorter one, for -lpam, comes only with libpam's headers, which are not needed.
    println!("cargo:rustc-link-arg=-l:libpam.so.0");
}
