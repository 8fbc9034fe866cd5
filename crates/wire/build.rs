//! Generates the protobuf types and the gRPC service from `proto/causeway.proto`, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/causeway.proto");
    let files = protox::compile(["proto/causeway.proto"], ["proto"])?;
    tonic_prost_build::configure().btree_map(".").bytes(".causeway.v1.Batch").compile_fds(files)?;
    Ok(())
}
