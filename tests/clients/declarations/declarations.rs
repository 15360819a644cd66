//! Empty: only the packages that Cargo.toml names are read.
