//! What Fardel writes is read by stock `age`, `zstd`, `tar`, `b3sum` and `minisign`, and what stock `age` writes by Fardel.
//!
//! Each test is passed over, and says so, where a tool is missing; where `CI` is set it fails instead.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fardel_format::age_file::{self, Header, Identities, Recipients};
use fardel_format::frame::{Compressor, Plain};
use fardel_format::ids::{ChunkKey, RepositoryId};
use fardel_format::keys::{ChunkKeys, HostKey, ReaderKeys};
use fardel_format::names::Numbered;
use fardel_format::pack::{Finished, PackKind, PackWriter};
use fardel_format::sign::SigningKey;
use fardel_format::{ObjectHash, manifest, zjson};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// Where these tools are, or `None` when one is missing.
fn tools<const N: usize>(names: [&str; N]) -> Option<[PathBuf; N]> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    if let Some(missing) = names.iter().find(|name| find(name).is_none()) {
        assert!(std::env::var_os("CI").is_none(), "{missing} is not installed; CI needs it");
        eprintln!("passed over: {missing} is not installed");
        return None;
    }
    Some(names.map(|name| find(name).expect("it was found above")))
}

/// Standard output of a shell pipeline, in which `$1`, `$2`… are the arguments.
fn shell(script: &str, arguments: &[&OsStr]) -> Result<Vec<u8>, String> {
    let out = Command::new("bash")
        .args(["-o", "pipefail", "-c", script, "bash"])
        .args(arguments)
        .output()
        .expect("bash runs");
    if out.status.success() { Ok(out.stdout) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}

struct Keyring {
    folder: TempDir,
    identity_file: PathBuf,
    identities: Identities,
    recipient: String,
}

fn keyring() -> Keyring {
    let folder = TempDir::new().unwrap();
    let (identity, recipient) = age_file::generate_identity();
    let identity_file = folder.path().join("identity");
    fs::write(&identity_file, identity.as_bytes()).unwrap();
    let mut identities = Identities::new();
    identities.push_x25519(&identity).unwrap();
    Keyring { folder, identity_file, identities, recipient }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A pack of chunks of many sizes in several frames, under their true ids.
fn write_pack(path: &Path, key: &ChunkKey, recipient: &str) -> (ObjectHash, Vec<Vec<u8>>) {
    let chunks: Vec<Vec<u8>> = [0, 1, 511, 512, 513, 65_536, 200_000, 3, 1 << 20, 77]
        .iter()
        .zip(0..)
        .map(|(len, n)| bytes(n, *len))
        .collect();
    let file = fs::File::create(path).unwrap();
    let mut writer =
        PackWriter::create(file, PackKind::Data, &Recipients::x25519(recipient).unwrap()).unwrap();
    for group in chunks.chunks(3) {
        let mut plain = Plain::new();
        group.iter().for_each(|chunk| plain.push(key.id(chunk), chunk).unwrap());
        writer.add(plain.compress(&mut Compressor::new(3).unwrap()).unwrap()).unwrap();
    }
    let Finished { hash, .. } = writer.finish().unwrap();
    (hash, chunks)
}

#[test]
fn a_pack_is_an_ordinary_tar_zst_age_file() {
    let Some([age, zstd, tar, b3sum]) = tools(["age", "zstd", "tar", "b3sum"]) else { return };
    let keys = keyring();
    let key = ChunkKey([3; 32]);
    let pack = keys.folder.path().join("pack");
    let (hash, chunks) = write_pack(&pack, &key, &keys.recipient);
    let out = keys.folder.path().join("out");
    fs::create_dir(&out).unwrap();

    let arguments = [
        age.as_os_str(),
        zstd.as_os_str(),
        tar.as_os_str(),
        keys.identity_file.as_os_str(),
        pack.as_os_str(),
        out.as_os_str(),
    ];
    let listed = shell("\"$1\" -d -i \"$4\" \"$5\" | \"$2\" -dc | \"$3\" tf -", &arguments).unwrap();
    let listed: Vec<_> = std::str::from_utf8(&listed).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(listed, chunks.iter().map(|chunk| key.id(chunk).to_string()).collect::<Vec<_>>());

    let complaints =
        shell("\"$1\" -d -i \"$4\" \"$5\" | \"$2\" -dc | \"$3\" xf - -C \"$6\" 2>&1", &arguments).unwrap();
    assert!(complaints.is_empty(), "{}", String::from_utf8_lossy(&complaints));
    let key_file = keys.folder.path().join("chunk-key");
    fs::write(&key_file, key.0).unwrap();
    for chunk in &chunks {
        let file = out.join(key.id(chunk).to_string());
        assert!(fs::read(&file).unwrap() == *chunk);
        let sum = shell(
            "\"$1\" --keyed --no-names \"$2\" < \"$3\"",
            &[b3sum.as_os_str(), file.as_os_str(), key_file.as_os_str()],
        )
        .unwrap();
        assert_eq!(String::from_utf8(sum).unwrap().trim(), key.id(chunk).to_string());
    }
    let sum = shell("\"$1\" --no-names \"$2\"", &[b3sum.as_os_str(), pack.as_os_str()]).unwrap();
    assert_eq!(String::from_utf8(sum).unwrap().trim(), hash.to_string());
}

#[test]
fn stock_minisign_accepts_a_seal() {
    let Some([minisign]) = tools(["minisign"]) else { return };
    let folder = TempDir::new().unwrap();
    let (message, seal) = (folder.path().join("manifest.json"), folder.path().join("seal.minisig"));
    let key = SigningKey::generate().unwrap();
    let (repository, text) = (RepositoryId([5; 32]), b"{\"fardel\": 1}\n");
    let name = Numbered { seq: 12, hash: ObjectHash::of(text) };
    fs::write(&message, text).unwrap();
    fs::write(&seal, manifest::seal(text, &repository, &name, &key).unwrap()).unwrap();
    let verify = || {
        let arguments =
            [minisign.as_os_str(), OsStr::new(key.public().as_str()), seal.as_os_str(), message.as_os_str()];
        shell("\"$1\" -V -Q -P \"$2\" -x \"$3\" -m \"$4\"", &arguments)
    };
    let comment = String::from_utf8(verify().unwrap()).unwrap();
    assert_eq!(comment.trim_end(), manifest::seal_comment(&repository, &key.public().writer(), &name));
    fs::write(&message, b"{\"fardel\": 2}\n").unwrap();
    assert!(verify().is_err());
    fs::write(&message, text).unwrap();
    fs::write(&seal, fs::read_to_string(&seal).unwrap().replace(" 00000012 ", " 00000013 ")).unwrap();
    assert!(verify().is_err());
}

/// And the other way round: what `minisign -S` signs is taken.
#[test]
fn signatures_of_stock_minisign_are_accepted() {
    let Some([minisign]) = tools(["minisign"]) else { return };
    let folder = TempDir::new().unwrap();
    let message = folder.path().join("message");
    fs::write(&message, b"hello").unwrap();
    let arguments = [minisign.as_os_str(), folder.path().as_os_str(), message.as_os_str()];
    shell("\"$1\" -G -W -p \"$2/p\" -s \"$2/s\" > /dev/null && \"$1\" -S -s \"$2/s\" -t 'fardel test' -m \"$3\" -x \"$2/sig\"", &arguments).unwrap();
    let public = fs::read_to_string(folder.path().join("p")).unwrap().lines().nth(1).unwrap().to_owned();
    let public = fardel_format::sign::PublicKey::try_from(public).unwrap();
    let signature = fs::read_to_string(folder.path().join("sig")).unwrap();
    public.verify("a message", b"hello", &signature, "fardel test").unwrap();
}

#[test]
fn key_files_are_stock_identity_files() {
    let Some([age]) = tools(["age"]) else { return };
    let keys = keyring();
    let (epoch, epoch_recipient) = age_file::generate_identity();
    let pack = keys.folder.path().join("object");
    fs::write(&pack, age_file::encrypt(b"secret", &Recipients::x25519(&epoch_recipient).unwrap()).unwrap())
        .unwrap();
    let decrypt = |identities: &Path| {
        shell("\"$1\" -d -i \"$2\" \"$3\"", &[age.as_os_str(), identities.as_os_str(), pack.as_os_str()])
    };

    // keys/<hash>.age, opened by the recovery identity, is an identity file itself.
    let reader = ReaderKeys {
        repository: RepositoryId([5; 32]),
        identities: vec![epoch.clone()],
        chunk_keys: ChunkKeys::generate(),
    };
    let stored = keys.folder.path().join("keys.age");
    fs::write(
        &stored,
        age_file::encrypt(reader.to_text().as_bytes(), &Recipients::x25519(&keys.recipient).unwrap())
            .unwrap(),
    )
    .unwrap();
    let opened = keys.folder.path().join("keys.txt");
    fs::write(
        &opened,
        shell(
            "\"$1\" -d -i \"$2\" \"$3\"",
            &[age.as_os_str(), keys.identity_file.as_os_str(), stored.as_os_str()],
        )
        .unwrap(),
    )
    .unwrap();
    assert_eq!(fs::read_to_string(&opened).unwrap(), *reader.to_text());
    assert_eq!(decrypt(&opened).unwrap(), b"secret");

    // So is a host's file, if the host may read; if not, it opens nothing.
    let host = |identities: Vec<Zeroizing<String>>| HostKey {
        repository: RepositoryId([5; 32]),
        root: SigningKey::generate().unwrap().public().clone(),
        signing: SigningKey::generate().unwrap(),
        epoch: epoch_recipient.clone(),
        chunk_keys: ChunkKeys::generate(),
        own: age_file::generate_identity().0,
        identities,
    };
    let file = keys.folder.path().join("host.key");
    fs::write(&file, host(vec![epoch.clone()]).to_text().as_bytes()).unwrap();
    assert_eq!(decrypt(&file).unwrap(), b"secret");
    fs::write(&file, host(Vec::new()).to_text().as_bytes()).unwrap();
    assert!(decrypt(&file).is_err());
}

#[test]
fn a_root_is_an_ordinary_zst_age_file() {
    let Some([age, zstd]) = tools(["age", "zstd"]) else { return };
    let keys = keyring();
    let root = keys.folder.path().join("root");
    fs::write(
        &root,
        zjson::seal(b"{\"fardel\":1}\n", &Recipients::x25519(&keys.recipient).unwrap()).unwrap(),
    )
    .unwrap();
    let arguments = [age.as_os_str(), zstd.as_os_str(), keys.identity_file.as_os_str(), root.as_os_str()];
    assert_eq!(shell("\"$1\" -d -i \"$3\" \"$4\" | \"$2\" -dc", &arguments).unwrap(), b"{\"fardel\":1}\n");
}

#[test]
fn files_of_stock_age_are_read_by_ranges() {
    let Some([age]) = tools(["age"]) else { return };
    let keys = keyring();
    let (input, output) = (keys.folder.path().join("in"), keys.folder.path().join("out"));
    for len in [0usize, 1, 65_536, 65_537, 131_072, 300_000] {
        let plain = bytes(9, len);
        fs::write(&input, &plain).unwrap();
        let arguments = [age.as_os_str(), OsStr::new(&keys.recipient), output.as_os_str(), input.as_os_str()];
        shell("\"$1\" -r \"$2\" -o \"$3\" \"$4\"", &arguments).unwrap();
        let stored = fs::read(&output).unwrap();
        let payload =
            Header::parse(&stored).unwrap().unwrap().open(&keys.identities, stored.len() as u64).unwrap();
        assert_eq!(payload.plain_len(), len as u64);
        for range in [0..len, len / 2..len, len / 3..len / 2, len.saturating_sub(1)..len] {
            if range.is_empty() {
                continue;
            }
            let wanted = range.start as u64..range.end as u64;
            let at = payload.stored_range(&wanted).unwrap();
            let found = payload.decrypt(&wanted, &stored[at.start as usize..at.end as usize]).unwrap();
            assert!(found == plain[range]);
        }
    }
}
