//! Files in the age format: whole ones through the `age` crate, ranges of large ones segment by segment.
//!
//! The layout is <https://age-encryption.org/v1>: a header of random length, a 16-byte nonce, then segments of 64 KiB
//! that each carry a 16-byte tag; the last one is marked, so that a file cut at a segment border is noticed.

use std::io::{Read, Write};
use std::ops::Range;

use age::secrecy::ExposeSecret;
use age_core::format::{FileKey, Stanza};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Tag};
use hmac::Mac;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Plain bytes in a segment.
pub const SEGMENT: u64 = 64 << 10;
const TAG: u64 = 16;
const SEALED_SEGMENT: u64 = SEGMENT + TAG;
const NONCE: usize = 16;
/// How much of a file's beginning is read at first to find the header.
pub const HEADER_GUESS: u64 = 4 << 10;
/// Headers beyond this are refused.
pub const MAX_HEADER: usize = 64 << 10;

/// Whom a file is encrypted to.
#[derive(Default)]
pub struct Recipients(Vec<Box<dyn age::Recipient + Send + Sync>>);

impl Recipients {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One X25519 recipient, `age1…`.
    ///
    /// # Errors
    /// When the text is none.
    pub fn x25519(text: &str) -> Result<Self> {
        let mut recipients = Self::new();
        recipients.push_x25519(text)?;
        Ok(recipients)
    }

    /// Adds an X25519 recipient, `age1…`.
    ///
    /// # Errors
    /// When the text is none.
    pub fn push_x25519(&mut self, text: &str) -> Result<()> {
        let recipient: age::x25519::Recipient =
            text.parse().map_err(|e: &str| Error::damaged("an age recipient", e))?;
        self.0.push(Box::new(recipient));
        Ok(())
    }

    /// Adds any other recipient (SSH, plugin, passphrase).
    pub fn push(&mut self, recipient: Box<dyn age::Recipient + Send + Sync>) {
        self.0.push(recipient);
    }
}

/// What opens files.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an `AGE-SECRET-KEY-…` line.
    ///
    /// # Errors
    /// When the text is none.
    pub fn push_x25519(&mut self, text: &str) -> Result<()> {
        let identity: age::x25519::Identity =
            text.parse().map_err(|e: &str| Error::damaged("an age identity", e))?;
        self.0.push(Box::new(identity));
        Ok(())
    }

    /// Adds any other identity (SSH, plugin, passphrase).
    pub fn push(&mut self, identity: Box<dyn age::Identity + Send + Sync>) {
        self.0.push(identity);
    }

    /// Whether nothing can be opened with it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes a new X25519 identity: the secret line, and the recipient that encrypts to it.
#[must_use]
pub fn generate_identity() -> (Zeroizing<String>, String) {
    let identity = age::x25519::Identity::generate();
    (Zeroizing::new(identity.to_string().expose_secret().to_owned()), identity.to_public().to_string())
}

/// The recipient of an `AGE-SECRET-KEY-…` line.
///
/// # Errors
/// When the text is none.
pub fn recipient_of(identity: &str) -> Result<String> {
    let identity: age::x25519::Identity =
        identity.parse().map_err(|e: &str| Error::damaged("an age identity", e))?;
    Ok(identity.to_public().to_string())
}

/// A writer that encrypts into `out`.
///
/// # Errors
/// When the recipients cannot be used together, or `out` fails.
pub fn writer<W: Write>(out: W, recipients: &Recipients) -> Result<age::stream::StreamWriter<W>> {
    let error = |e: &dyn std::fmt::Display| Error::damaged("the recipients", e.to_string());
    let recipients = recipients.0.iter().map(|r| &**r as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|e| error(&e))?;
    encryptor.wrap_output(out).map_err(|e| error(&e))
}

/// Encrypts a small file whole.
///
/// # Errors
/// When the recipients cannot be used together.
pub fn encrypt(plain: &[u8], recipients: &Recipients) -> Result<Vec<u8>> {
    let io = |e: std::io::Error| Error::damaged("an encrypted file", e);
    let mut writer = writer(Vec::with_capacity(plain.len() + 1024), recipients)?;
    writer.write_all(plain).map_err(io)?;
    writer.finish().map_err(io)
}

/// Decrypts a small file whole.
///
/// # Errors
/// [`Error::WrongKey`] when no identity opens it; otherwise when it is damaged or larger than `limit`.
pub fn decrypt(what: &'static str, stored: &[u8], identities: &Identities, limit: u64) -> Result<Vec<u8>> {
    let decryptor = age::Decryptor::new(stored).map_err(|e| Error::damaged(what, e))?;
    let identities = identities.0.iter().map(|i| &**i as &dyn age::Identity);
    let reader = decryptor.decrypt(identities).map_err(|e| match e {
        age::DecryptError::NoMatchingKeys
        | age::DecryptError::DecryptionFailed
        | age::DecryptError::KeyDecryptionFailed => Error::WrongKey { what },
        other => Error::damaged(what, other),
    })?;
    let mut plain = Vec::new();
    reader.take(limit + 1).read_to_end(&mut plain).map_err(|e| Error::damaged(what, e))?;
    if plain.len() as u64 > limit {
        return Err(Error::TooLarge { what, limit });
    }
    Ok(plain)
}

/// The parsed beginning of an age file.
pub struct Header {
    stanzas: Vec<Stanza>,
    mac: Vec<u8>,
    authenticated: Vec<u8>,
    nonce: [u8; NONCE],
    /// Bytes before the first segment.
    len: u64,
}

impl Header {
    /// Parses the beginning of a file; `None` when `prefix` does not reach far enough.
    ///
    /// # Errors
    /// When this is no age header, or one beyond [`MAX_HEADER`].
    pub fn parse(prefix: &[u8]) -> Result<Option<Self>> {
        let bad = |why: &str| Error::damaged("an age header", why);
        let mut rest = prefix;
        let mut consumed = 0;
        let mut next_line = || -> Result<Option<&[u8]>> {
            match rest.iter().position(|&b| b == b'\n') {
                Some(end) => {
                    let line = &rest[..end];
                    rest = &rest[end + 1..];
                    consumed += end + 1;
                    Ok(Some(line))
                }
                None if prefix.len() > MAX_HEADER => {
                    Err(Error::TooLarge { what: "an age header", limit: MAX_HEADER as u64 })
                }
                None => Ok(None),
            }
        };
        let Some(first) = next_line()? else { return Ok(None) };
        if first != b"age-encryption.org/v1" {
            return Err(bad("it does not begin as an age file does"));
        }
        let mut stanzas = Vec::new();
        let mac = loop {
            let Some(line) = next_line()? else { return Ok(None) };
            let line = std::str::from_utf8(line).map_err(|_| bad("not text"))?;
            if let Some(mac) = line.strip_prefix("--- ") {
                break BASE64_STANDARD_NO_PAD
                    .decode(mac)
                    .ok()
                    .filter(|mac| mac.len() == 32)
                    .ok_or_else(|| bad("no MAC"))?;
            }
            let words = line.strip_prefix("-> ").ok_or_else(|| bad("a line out of place"))?;
            let mut words = words.split(' ').map(str::to_owned);
            let tag = words.next().unwrap_or_default();
            let args: Vec<String> = words.collect();
            if !std::iter::once(&tag).chain(&args).all(age_core::format::is_arbitrary_string) {
                return Err(bad("a word in a stanza is empty or not plain"));
            }
            let mut body = Vec::new();
            loop {
                let Some(line) = next_line()? else { return Ok(None) };
                BASE64_STANDARD_NO_PAD
                    .decode_vec(line, &mut body)
                    .map_err(|_| bad("a stanza is not base64"))?;
                match line.len() {
                    0..64 => break,
                    64 => {}
                    _ => return Err(bad("a line of a stanza is too long")),
                }
            }
            stanzas.push(Stanza { tag, args, body });
        };
        if consumed > MAX_HEADER {
            return Err(Error::TooLarge { what: "an age header", limit: MAX_HEADER as u64 });
        }
        // What age itself refuses: a file of no recipient, and a passphrase beside others.
        if stanzas.is_empty() || (stanzas.len() > 1 && stanzas.iter().any(|stanza| stanza.tag == "scrypt")) {
            return Err(bad("its stanzas cannot stand together"));
        }
        // The MAC covers everything up to and including the dashes.
        let mac_line = BASE64_STANDARD_NO_PAD.encode(&mac).len() + 2;
        let authenticated = prefix[..consumed - mac_line].to_vec();
        let Some(nonce) = rest.first_chunk::<NONCE>() else { return Ok(None) };
        Ok(Some(Self { stanzas, mac, authenticated, nonce: *nonce, len: (consumed + NONCE) as u64 }))
    }

    /// Finds the file's key with one of the identities and checks the header under it.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when none fits, [`Error::Damaged`] when the header was altered or `file_size` cannot be.
    pub fn open(&self, identities: &Identities, file_size: u64) -> Result<Payload> {
        let key = identities
            .0
            .iter()
            .find_map(|identity| identity.unwrap_stanzas(&self.stanzas))
            .ok_or(Error::WrongKey { what: "a pack" })?
            .map_err(|e| Error::damaged("an age header", e))?;
        self.check_mac(&key)?;
        let mut payload_key = Zeroizing::new([0; 32]);
        derive(&key, Some(&self.nonce), b"payload", &mut payload_key);
        Payload::new(ChaCha20Poly1305::new((&*payload_key).into()), self.len, file_size)
    }

    fn check_mac(&self, key: &FileKey) -> Result<()> {
        let mut mac_key = Zeroizing::new([0; 32]);
        derive(key, None, b"header", &mut mac_key);
        let mut mac =
            <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(&*mac_key).expect("any length is a key");
        mac.update(&self.authenticated);
        mac.verify_slice(&self.mac).map_err(|_| Error::damaged("an age header", "its MAC does not hold"))
    }
}

fn derive(key: &FileKey, salt: Option<&[u8]>, info: &[u8], out: &mut [u8; 32]) {
    let hkdf = hkdf::Hkdf::<sha2::Sha256>::new(salt, key.expose_secret());
    hkdf.expand(info, out).expect("32 bytes can be derived");
}

/// The encrypted part of a file of known length, of which any range can be decrypted.
#[derive(Clone)]
pub struct Payload {
    cipher: ChaCha20Poly1305,
    start: u64,
    segments: u64,
    plain_len: u64,
}

impl Payload {
    fn new(cipher: ChaCha20Poly1305, start: u64, file_size: u64) -> Result<Self> {
        let what = "an encrypted file";
        let sealed = file_size.checked_sub(start).ok_or(Error::Truncated { what })?;
        let segments = sealed.div_ceil(SEALED_SEGMENT);
        let last = sealed - segments.saturating_sub(1) * SEALED_SEGMENT;
        if segments == 0 || last < TAG || (last == TAG && segments > 1) {
            return Err(Error::Truncated { what });
        }
        Ok(Self { cipher, start, segments, plain_len: sealed - segments * TAG })
    }

    /// Length of the plain bytes.
    #[must_use]
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Which bytes of the file hold these plain bytes: whole segments.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the range ends beyond the file.
    pub fn stored_range(&self, plain: &Range<u64>) -> Result<Range<u64>> {
        if plain.start >= plain.end || plain.end > self.plain_len {
            return Err(Error::Truncated { what: "an encrypted file" });
        }
        let first = plain.start / SEGMENT;
        let last = (plain.end - 1) / SEGMENT;
        let end = (last + 1).saturating_mul(SEALED_SEGMENT).min(self.segments * TAG + self.plain_len);
        Ok(self.start + first * SEALED_SEGMENT..self.start + end)
    }

    /// Decrypts `plain`, given the bytes of [`Self::stored_range`].
    ///
    /// # Errors
    /// When a segment's tag does not hold, or the last segment is not marked as last.
    pub fn decrypt(&self, plain: &Range<u64>, stored: &[u8]) -> Result<Vec<u8>> {
        let wanted = self.stored_range(plain)?;
        if stored.len() as u64 != wanted.end - wanted.start {
            return Err(Error::Truncated { what: "an encrypted file" });
        }
        let first = plain.start / SEGMENT;
        let mut out = Vec::with_capacity(stored.len());
        for (number, sealed) in (first..).zip(stored.chunks(SEALED_SEGMENT as usize)) {
            let (text, tag) = sealed.split_at(sealed.len() - TAG as usize);
            let mut nonce = [0; 12];
            nonce[3..11].copy_from_slice(&number.to_be_bytes());
            nonce[11] = u8::from(number + 1 == self.segments);
            let at = out.len();
            out.extend_from_slice(text);
            self.cipher
                .decrypt_in_place_detached(&nonce.into(), b"", &mut out[at..], Tag::from_slice(tag))
                .map_err(|_| Error::damaged("an encrypted file", format!("segment {number} was altered")))?;
        }
        let skip = (plain.start - first * SEGMENT) as usize;
        out.truncate(skip + (plain.end - plain.start) as usize);
        out.drain(..skip);
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
