//! `fardel key`: who may read and who may write. Changing that takes the recovery key or another administrator's.

use std::path::PathBuf;

use fardel_engine::key::{Admin, Holds, KeyFile, KeyList, SignerEntry, Target, Whom};
use fardel_engine::keyring::Material;
use fardel_format::RepositoryId;
use fardel_format::signers::Role as SignerRole;
use serde::Serialize;

use crate::app::App;
use crate::args::{KeyAddArgs, KeyCommand, KeyRemoveArgs, Role};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::open::{self, Opened};
use crate::table::{Align, Table};
use crate::{human, key_file, material};

#[derive(Serialize)]
struct KeyLine {
    id: String,
    holds: Option<&'static str>,
    recipients: Vec<String>,
    retired: bool,
    size: u64,
    damage: Option<String>,
}

#[derive(Serialize)]
struct SignerLine {
    id: String,
    name: String,
    roles: Vec<SignerRole>,
    this_host: bool,
}

#[derive(Serialize)]
struct ListSummary {
    keys: usize,
    signers: usize,
}

#[derive(Default, Serialize)]
struct AddSummary {
    keys: Vec<String>,
    signer: Option<String>,
    key_file: Option<String>,
}

#[derive(Serialize)]
struct RemoveSummary {
    keys: Vec<String>,
    signers: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the key at hand does not allow it.
pub fn run(app: &App, command: KeyCommand) -> Result<Exit> {
    match command {
        KeyCommand::List => list(app),
        KeyCommand::Add(args) => add(app, &args),
        KeyCommand::Remove(args) => remove(app, &args),
    }
}

/// Opens the repository without a key, and finds the key apart from it.
fn open(
    app: &App,
    find: impl FnOnce(&RepositoryId) -> Result<Option<Material>>,
) -> Result<(Opened, Option<Material>)> {
    let location = app.config.location()?;
    let store = open::store(&app.config, &location)?;
    let Some(id) = open::id(&store)? else { return Err(open::no_repository(&location)) };
    match find(&id)? {
        // What is in the files of `keys/` a host does not learn: its own file says who it is.
        Some(host @ Material::Host(_)) => {
            Ok((open::open_with(&app.config, store, location, Some(host), Some(id))?, None))
        }
        other => Ok((open::open_with(&app.config, store, location, None, Some(id))?, other)),
    }
}

fn list(app: &App) -> Result<Exit> {
    let (opened, material) = open(app, |id| material::find(&app.config, id, false))?;
    let list = KeyList::load(&opened.repo, &opened.catalog, material.as_ref())?;
    for problem in &list.problems {
        app.out.warning(&human::shown(format!("{}: {}", problem.object, problem.error).as_bytes()));
    }
    let mut keys = Table::new(&[
        ("Key file", Align::Left),
        ("For", Align::Left),
        ("Holds", Align::Left),
        ("", Align::Left),
    ]);
    for file in &list.files {
        let line = KeyLine::of(file);
        app.out.json_item("key", &line)?;
        let remark = match (&file.damage, file.retired) {
            (Some(damage), _) => human::shown(damage.as_bytes()),
            (None, true) => "retired".into(),
            (None, false) => String::new(),
        };
        let recipients = human::shown(line.recipients.join(", ").as_bytes());
        keys.row(vec![file.hash.short(), recipients, line.holds.unwrap_or("?").to_owned(), remark]);
    }
    let mut signers = Table::new(&[
        ("Signer", Align::Left),
        ("Name", Align::Left),
        ("May", Align::Left),
        ("", Align::Left),
    ]);
    for signer in &list.signers {
        app.out.json_item("signer", &SignerLine::of(signer))?;
        let roles: Vec<&str> = signer.roles.iter().map(role_name).collect();
        let remark = if signer.is_this_host { "this machine" } else { "" };
        signers.row(vec![
            signer.writer.to_string(),
            human::shown(signer.name.as_bytes()),
            roles.join(", "),
            remark.into(),
        ]);
    }
    for table in [keys, signers] {
        app.out.table(&table)?;
        app.out.say("")?;
    }
    if material.is_none() {
        app.out.say("age does not tell whose an X25519 recipient is, nor what is in a file: the recovery key shows more.")?;
    }
    app.out.summary(&ListSummary { keys: list.files.len(), signers: list.signers.len() })?;
    Ok(Exit::Done)
}

fn open_for_change(app: &App) -> Result<(Opened, Material)> {
    let (opened, material) = open(app, |id| material::find_administrator(&app.config, id))?;
    let material = material.ok_or_else(|| {
        let hint = "give the file of the recovery key with --key-file, or an administrator's passphrase with --passphrase-file";
        Failure::key("changing keys takes the recovery key or another administrator's, not a machine's own", hint)
    })?;
    Ok((opened, material))
}

fn add(app: &App, args: &KeyAddArgs) -> Result<Exit> {
    let location = app.config.location()?;
    let (opened, material) = open_for_change(app)?;
    let admin = Admin::open(&opened.repo, &opened.catalog, &material)?;
    let mut summary = AddSummary::default();
    if let Some(name) = &args.host {
        let path = host_path(app, args, opened.repo.id())?;
        let roles: Vec<SignerRole> = args.signer_roles();
        let host = admin.add_host(name, &roles, args.write_only)?;
        key_file::save_new(&path, &host.to_text()).map_err(|failure| {
            let hint = format!("{}; then run this again, and `fardel key remove` the signer {name} that nobody has a key for", failure.hint);
            failure.with_hint(hint)
        })?;
        let kind = if args.write_only { "can write and not read" } else { "can read and write" };
        app.out.say(format!("The key file of {name}, which {kind}: {}", human::path(&path)))?;
        app.out.say("It is nowhere else. Move it to that machine, readable by nobody else; there --key-file or `key_file:` names it.")?;
        summary.signer = Some(host.signing.public().writer().to_string());
        summary.key_file = Some(path.display().to_string());
    } else {
        let whom = match &args.new_passphrase_file {
            Some(path) => Whom::Passphrase(material::passphrase_file(path)?),
            None => Whom::Recipients(args.recipients.clone()),
        };
        let reader = admin.add_reader(&whom)?;
        summary.keys.push(reader.to_string());
        app.out.say(format!("Key file {} opens the content from now on.", reader.short()))?;
        if args.admin {
            let root = admin.add_administrator(&whom)?;
            summary.keys.push(root.to_string());
            app.out.say(format!("Key file {} lets the same ones change keys.", root.short()))?;
        }
    }
    app.out.say(format!("See them all:  {}", app.command("key list", &location)))?;
    app.out.summary(&summary)?;
    Ok(Exit::Done)
}

fn host_path(app: &App, args: &KeyAddArgs, id: &RepositoryId) -> Result<PathBuf> {
    let path = args.out.clone().unwrap_or_else(|| key_file::default_path(&app.config, id));
    let refused = key_file::refuse_existing(&path);
    refused.map_err(|failure| {
        failure.with_hint("this machine has a key: name another file for the new one with --out")
    })?;
    Ok(path)
}

impl KeyAddArgs {
    /// What the new host may do: to destroy is more than a host needs that must not even read.
    fn signer_roles(&self) -> Vec<SignerRole> {
        match (&self.roles[..], self.write_only) {
            ([], true) => vec![SignerRole::Write],
            ([], false) => vec![SignerRole::Write, SignerRole::ForgetOwn, SignerRole::Acknowledge],
            (roles, _) => roles.iter().map(|role| SignerRole::from(*role)).collect(),
        }
    }
}

impl From<Role> for SignerRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Write => Self::Write,
            Role::ForgetOwn => Self::ForgetOwn,
            Role::Maintain => Self::Maintain,
            Role::Acknowledge => Self::Acknowledge,
        }
    }
}

fn remove(app: &App, args: &KeyRemoveArgs) -> Result<Exit> {
    let (opened, material) = open_for_change(app)?;
    let admin = Admin::open(&opened.repo, &opened.catalog, &material)?;
    let list = KeyList::load(&opened.repo, &opened.catalog, Some(&material))?;
    let mut targets = Vec::new();
    for key in &args.keys {
        targets.push(list.find(key)?);
    }
    let mut summary = RemoveSummary { keys: Vec::new(), signers: Vec::new() };
    for target in targets {
        match target {
            Target::File(hash) => {
                admin.retire_file(&opened.catalog, &hash)?;
                app.out
                    .say(format!("Key file {} is retired: no client uses it from now on.", hash.short()))?;
                summary.keys.push(hash.to_string());
            }
            Target::Signer(writer) => {
                admin.remove_signer(&writer)?;
                app.out.say(format!(
                    "Signer {writer} may do nothing from now on; what it saved before stays."
                ))?;
                summary.signers.push(writer.to_string());
            }
        }
    }
    app.out.say(
        "Whoever could read before may have kept the keys: this protects nothing that was readable then.",
    )?;
    app.out.summary(&summary)?;
    Ok(Exit::Done)
}

impl KeyLine {
    fn of(file: &KeyFile) -> Self {
        let holds = file.holds.map(|holds| match holds {
            Holds::Reader => "content",
            Holds::Root => "root key",
        });
        Self {
            id: file.hash.to_string(),
            holds,
            recipients: file.recipients.iter().map(ToString::to_string).collect(),
            retired: file.retired,
            size: file.size,
            damage: file.damage.clone(),
        }
    }
}

impl SignerLine {
    fn of(signer: &SignerEntry) -> Self {
        let (id, name) = (signer.writer.to_string(), signer.name.clone());
        Self { id, name, roles: signer.roles.clone(), this_host: signer.is_this_host }
    }
}

fn role_name(role: &SignerRole) -> &'static str {
    match role {
        SignerRole::Write => "write",
        SignerRole::ForgetOwn => "forget-own",
        SignerRole::Maintain => "maintain",
        SignerRole::Acknowledge => "acknowledge",
    }
}
