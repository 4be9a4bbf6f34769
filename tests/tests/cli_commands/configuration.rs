use std::path::Path;

use super::sandbox::Sandbox;

#[test]
fn a_mistake_has_file_line_and_column() {
    let sandbox = Sandbox::with_repository();
    let table = [
        ("repository: repo\nkeyfile: x\n", ":2:1: ", "unknown field `keyfile`"),
        ("jobs:\n  - name: a\n    source: [x]\n", ":3:5: ", "unknown field `source`"),
        ("repository: repo\nchunk_size: 5\n", ":2:13: ", "16KiB to 4MiB"),
        ("repository: ${FARDEL_NOT_SET}/x\n", ":1:13: ", "FARDEL_NOT_SET is not set"),
        ("repository: [a]\n", ":1:13: ", "expected a text"),
        ("jobs: [\n", ":2:1: ", ""),
    ];
    for (text, place, what) in table {
        let file = sandbox.write("fardel.yaml", text);
        sandbox.run(["snapshots"]).exits(2).complains(&format!("{}{place}", file.display())).complains(what);
    }
    sandbox
        .run(["snapshots", "--config", "missing.yaml"])
        .exits(2)
        .complains("missing.yaml")
        .complains("--config");
}

#[test]
fn jobs_are_backed_up_each_as_a_snapshot() {
    let sandbox = Sandbox::empty();
    sandbox.write("data/x.iso", "iso");
    sandbox.write("data/x", "x");
    sandbox.settle();
    let config = "repository: ${HOME}/backup\nkey_file: host.key\njobs:\n  - name: first\n    sources: [src]\n    tags: [a]\n  \
                  - name: second\n    sources:\n      - data\n    excludes: ['*.iso']\n    tags: [b, c]\n";
    sandbox.write("etc/fardel.yaml", config.replace("[src]", "[../src]").replace("- data", "- ../data"));
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        super::sandbox::Ran::of(
            command.env_remove("FARDEL_REPOSITORY").env("FARDEL_CONFIG", "etc/fardel.yaml").output().unwrap(),
        )
    };
    run(&["init", "--recovery-file", "recovery"]).exits(0);
    assert!(sandbox.path("etc/host.key").exists() && sandbox.path("home/backup/fardel.json").exists());
    let ran = run(&["backup", "--json", "--tag", "extra"]).exits(0);
    let jobs = ran.of_type("job");
    assert_eq!((jobs.len(), &jobs[0]["job"], &jobs[1]["job"]), (2, &"first".into(), &"second".into()));
    assert_eq!(ran.summary()["snapshot_ids"].as_array().unwrap().len(), 2);
    assert_eq!(ran.summary()["files_new"], 4);
    let snapshots = run(&["snapshots", "--json"]).exits(0).of_type("snapshot");
    assert_eq!(snapshots[1]["tags"], serde_json::json!(["b", "c", "extra"]));
    let ran = run(&["backup", "--json", "--job", "second"]).exits(0);
    assert_eq!((ran.summary()["files_unmodified"].as_u64(), ran.of_type("job").len()), (Some(1), 0));
    run(&["backup", "--job", "third"]).exits(2).complains("first, second");
}

#[test]
fn a_configuration_with_a_password_is_for_its_owner_alone() {
    let sandbox = Sandbox::with_repository();
    let config = "repository: repo\nreplicas:\n  - name: away\n    url: ftp://ann:secret@host/x\n";
    sandbox.write("fardel.yaml", config);
    let ran =
        sandbox.run(["snapshots"]).exits(2).complains("others can read this secret").complains("chmod 600");
    let ran = ran.complains(&format!("{}:4:10: ", sandbox.text("fardel.yaml")));
    assert!(!ran.stderr.contains("ann:secret"));
    sandbox.write_secret("fardel.yaml", config);
    sandbox.run(["snapshots"]).exits(0);
    // A replica that this build cannot reach is told by name, without the password.
    let ran = sandbox.run(["status"]).exits(5).complains("replica away").complains("ftp://ann:***@host/x");
    assert!(!ran.stderr.contains("secret"));
}

#[test]
fn every_example_is_parsed_and_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config-examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let sandbox = Sandbox::empty();
        // As it is: understood, and only the repository is not there.
        sandbox.command(["snapshots", "--config", path.to_str().unwrap()]).env_remove("FARDEL_REPOSITORY");
        let as_it_is = sandbox
            .command(["snapshots", "--config", path.to_str().unwrap()])
            .env_remove("FARDEL_REPOSITORY")
            .output();
        super::sandbox::Ran::of(as_it_is.unwrap()).exits(10);
        // On this sandbox instead of the whole machine: each source is a small file or folder of that name.
        let text = std::fs::read_to_string(&path).unwrap();
        let mut moved = String::new();
        for line in text.lines() {
            let trimmed = line.trim_start();
            let (before, value) = match trimmed.strip_prefix("- /") {
                Some(value) => (&line[..line.len() - trimmed.len() + 2], value),
                None => match line.split_once(": /").filter(|_| !trimmed.starts_with('#')) {
                    Some((before, value)) => (&line[..before.len() + 2], value),
                    None => {
                        moved.push_str(&format!("{line}\n"));
                        continue;
                    }
                },
            };
            moved.push_str(&format!("{before}{}\n", sandbox.text(&format!("root/{value}"))));
            if trimmed.starts_with("- /") {
                sandbox.write(&format!("root/{value}"), "content");
            }
        }
        sandbox.write("home/file", "content");
        let config = sandbox.write("moved.yaml", moved);
        let run = |arguments: &[&str]| {
            let mut command = sandbox.command(arguments);
            let command =
                command.args(["--config", config.to_str().unwrap()]).env_remove("FARDEL_REPOSITORY");
            super::sandbox::Ran::of(command.output().unwrap())
        };
        run(&["init", "--recovery-file", "recovery"]).exits(0);
        run(&["backup"]).exits(0);
        run(&["restore", "latest", "--target", "out"]).exits(0);
    }
    assert!(count >= 2, "{count}");
}
