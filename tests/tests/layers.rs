//! The dependency rules of the workspace: which of our crates may use which, and a reason for every foreign one.
//!
//! The layers table of DESIGN.md is `LAYERS` below. The rules are checked on what cargo itself says, and each
//! checker is shown to fail on a workspace that breaks its rule.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// A crate of ours, its folder, and which of ours it may use.
struct Layer {
    name: &'static str,
    folder: &'static str,
    may_use: &'static [&'static str],
}

const EVERYTHING: &[&str] =
    &["fardel", "fardel-backends", "fardel-engine", "fardel-format", "fardel-source", "fardel-store"];

const LAYERS: &[Layer] = &[
    Layer { name: "fardel-store", folder: "src/store", may_use: &[] },
    Layer { name: "fardel-format", folder: "src/format", may_use: &[] },
    Layer { name: "fardel-source", folder: "src/source", may_use: &[] },
    Layer {
        name: "fardel-engine",
        folder: "src/engine",
        may_use: &["fardel-format", "fardel-source", "fardel-store"],
    },
    Layer { name: "fardel-backends", folder: "backends", may_use: &["fardel-store"] },
    Layer { name: "fardel", folder: "src/cli", may_use: EVERYTHING },
    Layer { name: "fardel-tests", folder: "tests", may_use: EVERYTHING },
    Layer { name: "fardel-model", folder: "tests/model", may_use: &[] },
];

/// One comment may stand for at most this many dependencies; a longer group hides its reasons.
const LARGEST_GROUP: usize = 8;

#[test]
fn layers_hold() {
    assert_none(layer_violations(&metadata(), LAYERS));
}

#[test]
fn every_foreign_dependency_has_a_reason() {
    assert_none(missing_reasons(&read(&root().join("Cargo.toml"))));
}

#[test]
fn members_take_dependencies_from_the_workspace() {
    let members = LAYERS.iter().map(|layer| root().join(layer.folder).join("Cargo.toml"));
    assert_none(members.flat_map(|path| own_versions(&path, &read(&path))).collect());
}

// -- the checkers ----------------------------------------------------------------------------------------------

/// Names every edge between our crates that the layers forbid, and every crate that has no layer or no folder.
fn layer_violations(metadata: &Value, layers: &[Layer]) -> Vec<String> {
    let root = Path::new(text(&metadata["workspace_root"]));
    let packages = list(&metadata["packages"]);
    let names: Vec<&str> = packages.iter().map(|package| text(&package["name"])).collect();
    let mut found = Vec::new();

    for layer in layers.iter().filter(|layer| !names.contains(&layer.name)) {
        found.push(format!("{} is not in the workspace", layer.name));
    }
    for package in packages {
        let name = text(&package["name"]);
        let Some(layer) = layers.iter().find(|layer| layer.name == name) else {
            found.push(format!("{name} has no layer: add it to LAYERS and to DESIGN.md"));
            continue;
        };
        let manifest = root.join(layer.folder).join("Cargo.toml");
        if Path::new(text(&package["manifest_path"])) != manifest {
            found.push(format!("{name} does not lie in {}", layer.folder));
        }
        for dependency in list(&package["dependencies"]) {
            let used = text(&dependency["name"]);
            if names.contains(&used) && !layer.may_use.contains(&used) && !is_conformance_suite(dependency) {
                found.push(format!("{name} must not use {used}"));
            }
        }
    }
    found
}

/// Whether this is the one exception: tests of any layer may use the conformance suite of the store.
fn is_conformance_suite(dependency: &Value) -> bool {
    dependency["name"] == "fardel-store"
        && dependency["kind"] == "dev"
        && list(&dependency["features"]).contains(&json!("conformance"))
}

/// Names every workspace dependency without a comment above it; one comment may head a short group of lines.
fn missing_reasons(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().map(str::trim);
    let section = lines
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let mut found = Vec::new();
    let mut group: Option<usize> = None;
    for line in section {
        if line.starts_with('#') {
            group = (line.trim_start_matches('#').trim().len() > 3).then_some(0);
        } else if line.is_empty() {
            group = None;
        } else if let Some((name, _)) = line.split_once(['=', '.']) {
            match &mut group {
                Some(lines) if *lines < LARGEST_GROUP => *lines += 1,
                Some(_) => found.push(format!("{} is one too many under its comment", name.trim())),
                None => found.push(format!("{} has no comment that says why it is there", name.trim())),
            }
        }
    }
    found
}

/// Names every dependency that a member's manifest does not take from the workspace, where its reason would stand.
fn own_versions(path: &Path, manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            inside = header.trim_end_matches(']').ends_with("dependencies");
        } else if inside
            && !line.starts_with('#')
            && let Some((name, value)) = line.split_once('=')
            && !name.trim().ends_with(".workspace")
            && !value.contains("workspace = true")
        {
            found.push(format!("{}: {} is not taken from the workspace", path.display(), name.trim()));
        }
    }
    found
}

// -- the checkers fail when they should ------------------------------------------------------------------------

#[test]
fn a_forbidden_edge_is_named() {
    for (from, to) in [
        ("fardel-format", "fardel-store"),
        ("fardel-store", "fardel-format"),
        ("fardel-source", "fardel-format"),
        ("fardel-backends", "fardel-engine"),
        ("fardel-engine", "fardel-backends"),
        ("fardel-engine", "fardel"),
    ] {
        for kind in [Value::Null, json!("build"), json!("dev")] {
            let graph = with_edge(metadata(), from, json!({"name": to, "kind": kind, "features": []}));
            assert_eq!(layer_violations(&graph, LAYERS), [format!("{from} must not use {to}")], "{kind}");
        }
    }
}

#[test]
fn only_tests_may_reach_the_conformance_suite() {
    let edge = |kind: Value| json!({"name": "fardel-store", "kind": kind, "features": ["conformance"]});
    let allowed = with_edge(metadata(), "fardel-format", edge(json!("dev")));
    assert_none(layer_violations(&allowed, LAYERS));
    let forbidden = with_edge(metadata(), "fardel-format", edge(Value::Null));
    assert_eq!(layer_violations(&forbidden, LAYERS), ["fardel-format must not use fardel-store"]);
}

#[test]
fn a_crate_without_a_layer_is_named() {
    let mut graph = metadata();
    let stranger = json!({"name": "fardel-utils", "manifest_path": "/x/Cargo.toml", "dependencies": []});
    graph["packages"].as_array_mut().expect("packages").push(stranger);
    assert_eq!(
        layer_violations(&graph, LAYERS),
        ["fardel-utils has no layer: add it to LAYERS and to DESIGN.md"]
    );
}

#[test]
fn a_moved_and_a_lost_crate_are_named() {
    let mut graph = metadata();
    let packages = graph["packages"].as_array_mut().expect("packages");
    packages.retain(|package| package["name"] != "fardel-source");
    let store = packages.iter_mut().find(|package| package["name"] == "fardel-store").expect("store");
    store["manifest_path"] = json!("/elsewhere/Cargo.toml");
    assert_eq!(
        layer_violations(&graph, LAYERS),
        ["fardel-source is not in the workspace", "fardel-store does not lie in src/store"]
    );
}

#[test]
fn a_dependency_without_a_reason_is_named() {
    let manifest =
        "[workspace.dependencies]\n# hashes\nblake3 = \"1\"\n\nserde = \"1\"\n#\nhex = \"0.4\"\n[x]\ny = 1\n";
    assert_eq!(
        missing_reasons(manifest),
        ["serde has no comment that says why it is there", "hex has no comment that says why it is there"]
    );
    let crowd: String = (0..=LARGEST_GROUP).map(|n| format!("crate{n} = \"1\"\n")).collect();
    let manifest = format!("[workspace.dependencies]\n# a crowd\n{crowd}");
    assert_eq!(
        missing_reasons(&manifest),
        [format!("crate{LARGEST_GROUP} is one too many under its comment")]
    );
}

#[test]
fn a_version_outside_the_workspace_is_named() {
    let manifest = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\n# why\n\
                    b = { workspace = true, features = [\"c\"] }\nd = \"1\"\n\
                    [target.'cfg(unix)'.dev-dependencies]\ne = { path = \"../e\" }\n";
    assert_eq!(
        own_versions(Path::new("m"), manifest),
        ["m: d is not taken from the workspace", "m: e is not taken from the workspace"]
    );
}

// -- small things ----------------------------------------------------------------------------------------------

/// What `cargo metadata` says about the workspace's own crates; needs neither network nor a lock file.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

fn with_edge(mut metadata: Value, from: &str, edge: Value) -> Value {
    let packages = metadata["packages"].as_array_mut().expect("packages");
    let package = packages.iter_mut().find(|package| package["name"] == from).expect("a package of ours");
    package["dependencies"].as_array_mut().expect("dependencies").push(edge);
    metadata
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a string is missing: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list is missing: {value}"))
}

fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
