//! Where the command has its keys for S3 from, when they stand in no file of the user.

use super::canned::{Answer, Asked, Canned, read_all};
use crate::sandbox::{Ran, Sandbox};

/// An S3 service without objects, and what gives keys for it; all requests for objects have to be signed with `key`.
fn service(key: &'static str) -> Canned {
    let answer = move |asked: &Asked, _: usize| {
        let ok = |body: &str| Some(("200 OK".to_owned(), body.as_bytes().to_vec()));
        let expires = "2099-01-01T00:00:00Z";
        match (&*asked.method, &*asked.path) {
            ("POST", path) if path.contains("Action=AssumeRoleWithWebIdentity") => {
                assert!(
                    path.contains("WebIdentityToken=the-token") && path.contains("arn%3Aaws%3Aiam"),
                    "{path}"
                );
                ok(&format!(
                    "<R><AssumeRoleWithWebIdentityResult><Credentials><SessionToken>session</SessionToken>\
                     <SecretAccessKey>hunter2</SecretAccessKey><Expiration>{expires}</Expiration>\
                     <AccessKeyId>{key}</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></R>"
                ))
            }
            ("PUT", "/dav/latest/api/token") => ok("token"),
            ("GET", "/dav/latest/meta-data/iam/security-credentials/") => ok("role"),
            ("GET", "/dav/latest/meta-data/iam/security-credentials/role") => ok(&format!(
                "{{\"AccessKeyId\":\"{key}\",\"SecretAccessKey\":\"hunter2\",\"Token\":\"session\",\
                 \"Expiration\":\"{expires}\"}}"
            )),
            _ => not_found(asked, key),
        }
    };
    Canned::start(read_all, answer)
}

fn not_found(asked: &Asked, key: &str) -> Answer {
    let (header, token) = (asked.header("authorization"), asked.header("x-amz-security-token"));
    let is_signed = header.is_some_and(|header| header.contains(&format!("Credential={key}/")));
    let status = if is_signed && token == Some("session") { "404 Not Found" } else { "403 Forbidden" };
    let code = if status.starts_with("404") { "NoSuchKey" } else { "AccessDenied" };
    Some((status.to_owned(), format!("<Error><Code>{code}</Code></Error>").into_bytes()))
}

/// Asks for a repository that is not there: only who shows the right keys is told so.
fn is_let_in(server: &Canned, sandbox: &Sandbox, environment: &[(&str, String)]) {
    let url = format!("s3://bucket/r?endpoint={}", server.url());
    let mut command = sandbox.command(["snapshots", "--repo", &url]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let ran = Ran::of(command.output().unwrap());
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    ran.exits(10);
}

#[test]
fn keys_are_got_for_a_web_identity() {
    let (server, sandbox) = (service("ASIAWEB"), Sandbox::empty());
    let token = sandbox.write_secret("token", "the-token");
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup".into()),
        ("AWS_ENDPOINT_URL_STS", server.url()),
        ("AWS_REGION", "eu-central-1".into()),
    ];
    is_let_in(&server, &sandbox, &environment);
}

#[test]
fn keys_are_got_from_the_virtual_machine() {
    for variable in ["AWS_METADATA_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT"] {
        let (server, sandbox) = (service("ASIAVM"), Sandbox::empty());
        is_let_in(&server, &sandbox, &[(variable, server.url())]);
    }
}
