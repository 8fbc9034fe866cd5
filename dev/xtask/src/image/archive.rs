//! An archive of one image, in the layout of the Open Container Initiative, with Docker's own index beside it.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The archive. The same binary gives the same bytes: no times, no users.
pub(super) fn archive(name: &str, architecture: &str, binary: &[u8]) -> Result<Vec<u8>> {
    let layer = tar(&[("causeway", 0o755, binary)])?;
    let config = text(&json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": ["/causeway"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    }));
    let manifest = text(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", &config),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)],
    }));
    let mut entry = blob("application/vnd.oci.image.manifest.v1+json", &manifest);
    let tag = name.rsplit(':').next().unwrap_or_default();
    entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
    entry["annotations"] =
        json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag });
    let index = text(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    }));
    let docker = text(&json!([{ "Config": place(&config), "RepoTags": [name], "Layers": [place(&layer)] }]));
    let layout = text(&json!({ "imageLayoutVersion": "1.0.0" }));
    let (config_at, layer_at, manifest_at) = (place(&config), place(&layer), place(&manifest));
    tar(&[
        ("oci-layout", 0o644, &layout),
        ("index.json", 0o644, &index),
        ("manifest.json", 0o644, &docker),
        (&config_at, 0o644, &config),
        (&manifest_at, 0o644, &manifest),
        (&layer_at, 0o644, &layer),
    ])
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

/// Where a blob stands in the archive.
fn place(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(bytes))
}

fn blob(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

fn tar(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, path, *bytes)?;
    }
    Ok(builder.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn read(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn everything_leads_to_the_binary() {
        let bytes = archive("localhost/causeway:1", "amd64", b"a program").unwrap();
        assert_eq!(
            bytes,
            archive("localhost/causeway:1", "amd64", b"a program").unwrap(),
            "the same every time"
        );
        let files = read(&bytes);
        let json = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
        let at = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(descriptor["size"], bytes.len());
            assert_eq!(self::digest(bytes), digest);
            bytes
        };
        let index = json("index.json");
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/causeway:1");
        let manifest: Value = serde_json::from_slice(at(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(at(&manifest["config"])).unwrap();
        let layer = at(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], self::digest(layer));
        assert_eq!(read(layer)["causeway"], b"a program");
        let docker = json("manifest.json");
        assert_eq!(docker[0]["RepoTags"][0], "localhost/causeway:1");
        assert_eq!(&files[docker[0]["Layers"][0].as_str().unwrap()], layer);
    }
}
