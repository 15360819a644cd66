//! Generates the code of the protos, without protoc. PROTOS names other protos.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let protos = PathBuf::from(env::var("PROTOS").unwrap_or("../../../proto".into()));
    let mut files = Vec::new();
    for entry in fs::read_dir(protos.join("gossipcontrol/v1"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    println!("cargo:rerun-if-env-changed=PROTOS");
    let parsed = protox::compile(&files, [&protos])?;
    tonic_prost_build::configure().build_server(false).compile_fds(parsed)?;
    Ok(())
}
