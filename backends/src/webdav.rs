//! A repository in a folder of a WebDAV server: nginx, Apache, Nextcloud, rclone and others.
//!
//! How `put_new` stores an object, in the one way that no server measured gets wrong:
//! 1. PUT to a name of this attempt alone in `.fardel-staging`; its length is asked for and compared;
//! 2. MOVE with `Overwrite: F` to the final name; its length is compared again.
//!
//! Never is anything put under a final name (an aborted PUT leaves a stump there with some servers), nor with Content-Range (which
//! others apply in place), nor is `If-None-Match` believed (nginx and rclone ignore it). Where two MOVEs to one name both win (Apache,
//! nginx), one program takes turns with itself; two programs store the same bytes under such a name.
//!
//! Listings ask folder by folder, with depth 1: most servers refuse depth infinity. Redirects are not followed, so credentials go
//! nowhere else.

mod client;
mod credentials;
mod examine;
mod failure;
mod folders;
mod multistatus;
mod netrc;
mod put;
mod read;
mod store;

pub use credentials::Credentials;
pub use netrc::find as find_in_netrc;
pub use store::{WebDavOptions, WebDavStore};
