//! What a program fetches for others: modules by path or URL ([`Source`]), and
//! HTTP requests that somebody else has written ([`HttpClient`]).
//!
//! Each has limits of size and time. Requests go only to hosts of an
//! allow-list ([`AllowedHosts`]), which is asked again for each redirect and
//! for the addresses that a name resolves to, so that neither a redirect nor a
//! name leads into the network that the program runs in. Nothing is read from
//! the environment; proxies are not used.
//!
//! ```
//! use wapc_net::{AllowedHosts, HttpClient, HttpError, HttpLimits, HttpRequest};
//!
//! let client = HttpClient::new(AllowedHosts::new(["*.example.com"])?);
//! let metadata = HttpRequest::new("http://169.254.169.254/latest/meta-data");
//! let refused = client.send(&metadata, &HttpLimits::default());
//! assert!(matches!(refused, Err(HttpError::HostNotAllowed { .. })));
//! # Ok::<(), wapc_net::PatternError>(())
//! ```
//!
//! # Features
//!
//! `tls` (off by default): HTTPS by rustls, with Mozilla's root certificates.
//! Without it, `https` URLs are refused with [`HttpError::NoTls`].
#![forbid(unsafe_code)]

mod addresses;
mod allowed_hosts;
mod http;
mod source;
mod url;

pub use allowed_hosts::{AllowedHosts, PatternError};
pub use http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
pub use source::{Location, Source, SourceError};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
