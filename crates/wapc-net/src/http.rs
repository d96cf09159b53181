//! HTTP behind an allow-list.

use std::{
    collections::BTreeMap,
    error::Error as StdError,
    fmt,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use ureq::{
    Agent,
    config::Config,
    http::{Method, Request, StatusCode, Uri, header, uri::Scheme},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use crate::{AllowedHosts, url};

/// A client that asks only hosts of its [`AllowedHosts`]. It blocks, keeps a few
/// connections open, and is shared by clones.
#[derive(Clone, Debug)]
pub struct HttpClient {
    agent: Agent,
    allowed: Arc<AllowedHosts>,
}

/// A request, as somebody else has written it: nothing in it has been checked.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method. The default, an empty text, is `GET`; lower case is made upper case.
    pub method: String,
    /// The URL, of the scheme `http` or `https`.
    pub url: String,
    /// Headers, in any case. `Host` and the headers of connections are the client's own, and left out.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Makes a `GET` request of this URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// Sets the method.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// The most that one request may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HttpLimits {
    /// The time of all, redirects and body included. The default is 30 s.
    pub timeout: Duration,
    /// The bytes of the response's body. The default is 50 MiB.
    pub max_response_bytes: usize,
    /// The redirects that are followed. The default is 10.
    pub max_redirects: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_response_bytes: 50 << 20,
            max_redirects: 10,
        }
    }
}

impl HttpLimits {
    /// Sets the time of all.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the most bytes of a response's body.
    #[must_use]
    pub const fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.max_response_bytes = bytes;
        self
    }

    /// Sets the most redirects.
    #[must_use]
    pub const fn max_redirects(mut self, redirects: usize) -> Self {
        self.max_redirects = redirects;
        self
    }
}

/// A response of any status: 404 is one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status, such as 200.
    pub status: u16,
    /// The headers by lower-case name. The values of one that came several times are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The reason why there is no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// A URL that is none, or neither `http` nor `https`.
    #[error("invalid URL: {url}")]
    Url {
        /// The URL.
        url: String,
    },
    /// A method or header that HTTP does not know.
    #[error("invalid {what}: `{name}`")]
    Request {
        /// "method" or "header".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A URL or the target of a redirect whose host is not in the list.
    #[error("the host of {url} is not allowed")]
    HostNotAllowed {
        /// The URL.
        url: String,
        /// Whether a redirect led there.
        redirected: bool,
    },
    /// An allowed host that resolves to an address inside the network, which is not listed.
    #[error("{host} resolves to {address}, which is not public; list that address to allow it")]
    AddressNotAllowed {
        /// The host.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
    },
    /// HTTPS without the feature `tls`.
    #[error("{url}: this program is built without TLS")]
    NoTls {
        /// The URL.
        url: String,
    },
    /// More redirects than the limit.
    #[error("more than {limit} redirects")]
    Redirects {
        /// The limit.
        limit: usize,
    },
    /// A body over the limit.
    #[error("the response has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// No complete response in time.
    #[error("no response within {limit:?}")]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// A failure of the name service, the connection or the protocol.
    #[error("the request failed")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
}

/// The headers that belong to the connection, and so to the client.
const OURS: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The headers that are for one host alone.
const SECRETS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

impl HttpClient {
    /// Makes a client that asks only these hosts.
    #[must_use]
    pub fn new(allowed: AllowedHosts) -> Self {
        Self::build(allowed, None)
    }

    /// As [`HttpClient::new`], with names looked up by `lookup`: it gets a host
    /// and a port. Its addresses are checked as those of the system are.
    #[must_use]
    pub fn with_lookup(
        allowed: AllowedHosts,
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self::build(allowed, Some(Arc::new(lookup)))
    }

    fn build(allowed: AllowedHosts, lookup: Option<Arc<Lookup>>) -> Self {
        let allowed = Arc::new(allowed);
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .allow_non_standard_methods(true)
            .build();
        let resolver = CheckedResolver {
            allowed: allowed.clone(),
            lookup,
        };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        Self { agent, allowed }
    }

    /// Returns the response to a request, after at most
    /// [`HttpLimits::max_redirects`] redirects. A `303`, and a `301` or `302` to
    /// anything but `GET` and `HEAD`, is followed by a `GET` without the body.
    /// `Authorization` and `Cookie` do not follow to another host.
    ///
    /// # Errors
    ///
    /// - [`HttpError::Url`], [`HttpError::Request`], [`HttpError::NoTls`]: nothing
    ///   was sent.
    /// - [`HttpError::HostNotAllowed`], [`HttpError::AddressNotAllowed`]: nothing
    ///   was sent to that host.
    /// - [`HttpError::Redirects`], [`HttpError::TooLarge`], [`HttpError::TimedOut`]:
    ///   a limit.
    /// - [`HttpError::Failed`]: the network or the other side failed.
    pub fn send(
        &self,
        request: &HttpRequest,
        limits: &HttpLimits,
    ) -> Result<HttpResponse, HttpError> {
        let began = Instant::now();
        let mut step = Step::new(request)?;
        for redirects in 0.. {
            self.check(&step.url, redirects > 0)?;
            let left = limits.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(HttpError::TimedOut {
                    limit: limits.timeout,
                });
            }
            let failed = |error| failure(error, &step.url, limits);
            let request = self
                .agent
                .configure_request(step.request()?)
                .timeout_global(Some(left))
                .build();
            let mut response = self.agent.run(request).map_err(failed)?;
            if let Some(next) =
                step.redirected(response.status(), response.headers().get(header::LOCATION))?
            {
                if redirects >= limits.max_redirects {
                    return Err(HttpError::Redirects {
                        limit: limits.max_redirects,
                    });
                }
                step = next;
                continue;
            }
            let body = response.body_mut().with_config().limit(u64::MAX).reader();
            let body = read_body(body, limits.max_response_bytes).map_err(|error| match error {
                BodyError::TooLarge => HttpError::TooLarge {
                    limit: limits.max_response_bytes,
                },
                BodyError::Io(error) => failed(error.into()),
            })?;
            let mut headers = BTreeMap::<String, String>::new();
            for (name, value) in response.headers() {
                let value = String::from_utf8_lossy(value.as_bytes());
                headers
                    .entry(name.as_str().to_owned())
                    .and_modify(|joined| {
                        joined.push_str(", ");
                        joined.push_str(&value);
                    })
                    .or_insert_with(|| value.into_owned());
            }
            return Ok(HttpResponse {
                status: response.status().as_u16(),
                headers,
                body,
            });
        }
        Err(HttpError::Redirects {
            limit: limits.max_redirects,
        })
    }

    fn check(&self, url: &Uri, redirected: bool) -> Result<(), HttpError> {
        if !self.allowed.allows(url.host().unwrap_or_default()) {
            return Err(HttpError::HostNotAllowed {
                url: url.to_string(),
                redirected,
            });
        }
        if url.scheme() == Some(&Scheme::HTTPS) && !cfg!(feature = "tls") {
            return Err(HttpError::NoTls {
                url: url.to_string(),
            });
        }
        Ok(())
    }
}

/// One request on the way through redirects.
struct Step<'r> {
    method: Method,
    url: Uri,
    headers: Vec<(&'r str, &'r str)>,
    body: &'r [u8],
}

impl<'r> Step<'r> {
    fn new(request: &'r HttpRequest) -> Result<Self, HttpError> {
        let url = url::parse(&request.url).ok_or_else(|| HttpError::Url {
            url: request.url.clone(),
        })?;
        let method = match request.method.as_str() {
            "" => Method::GET,
            method => Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| {
                HttpError::Request {
                    what: "method",
                    name: method.to_owned(),
                }
            })?,
        };
        let is_ours = |name: &str| OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
        let headers = request.headers.iter().filter(|(name, _)| !is_ours(name));
        Ok(Self {
            method,
            url,
            headers: headers
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            body: &request.body,
        })
    }

    fn request(&self) -> Result<Request<&'r [u8]>, HttpError> {
        let mut request = Request::builder().method(&self.method).uri(&self.url);
        for (name, value) in &self.headers {
            let known = header::HeaderName::try_from(*name).is_ok()
                && header::HeaderValue::try_from(*value).is_ok();
            if !known {
                return Err(HttpError::Request {
                    what: "header",
                    name: (*name).to_owned(),
                });
            }
            request = request.header(*name, *value);
        }
        request
            .body(self.body)
            .map_err(|error| HttpError::Failed(error.into()))
    }

    /// The request that follows, if this response is a redirect.
    fn redirected(
        &self,
        status: StatusCode,
        location: Option<&header::HeaderValue>,
    ) -> Result<Option<Self>, HttpError> {
        let (301 | 302 | 303 | 307 | 308, Some(location)) = (status.as_u16(), location) else {
            return Ok(None);
        };
        let location = String::from_utf8_lossy(location.as_bytes());
        let url = url::join(&self.url, &location).ok_or_else(|| HttpError::Url {
            url: location.into_owned(),
        })?;
        let same_host =
            url.authority() == self.url.authority() && url.scheme() == self.url.scheme();
        let reads = matches!(self.method, Method::GET | Method::HEAD);
        let turns_into_get = !reads && matches!(status.as_u16(), 301..=303);
        let follows = |(name, _): &(&str, &str)| {
            let name = name.to_ascii_lowercase();
            let is_secret = SECRETS.contains(&name.as_str());
            (same_host || !is_secret) && !(turns_into_get && name.starts_with("content-"))
        };
        Ok(Some(Self {
            method: if turns_into_get {
                Method::GET
            } else {
                self.method.clone()
            },
            url,
            headers: self.headers.iter().copied().filter(follows).collect(),
            body: if turns_into_get { &[] } else { self.body },
        }))
    }
}

enum BodyError {
    TooLarge,
    Io(io::Error),
}

fn read_body(body: impl Read, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    body.take(most)
        .read_to_end(&mut bytes)
        .map_err(BodyError::Io)?;
    if bytes.len() > limit {
        return Err(BodyError::TooLarge);
    }
    Ok(bytes)
}

fn failure(error: ureq::Error, url: &Uri, limits: &HttpLimits) -> HttpError {
    match error {
        ureq::Error::Timeout(_) => HttpError::TimedOut {
            limit: limits.timeout,
        },
        ureq::Error::Io(error) => match error.downcast::<ureq::Error>() {
            Ok(inner) => failure(inner, url, limits),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => HttpError::TimedOut {
                limit: limits.timeout,
            },
            Err(error) => HttpError::Failed(error.into()),
        },
        ureq::Error::Other(other) => match other.downcast::<Inner>() {
            Ok(inner) => HttpError::AddressNotAllowed {
                host: url.host().unwrap_or_default().to_owned(),
                address: inner.0,
            },
            Err(other) => HttpError::Failed(other),
        },
        other => HttpError::Failed(other.into()),
    }
}

type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Resolves names, and hands out only addresses that may be asked: what has
/// been checked is what the connection goes to.
struct CheckedResolver {
    allowed: Arc<AllowedHosts>,
    lookup: Option<Arc<Lookup>>,
}

impl fmt::Debug for CheckedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedResolver").finish_non_exhaustive()
    }
}

/// An address inside the network that is not listed.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not public")]
struct Inner(IpAddr);

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found: Vec<SocketAddr> = match &self.lookup {
            Some(lookup) => {
                let default = if uri.scheme() == Some(&Scheme::HTTPS) {
                    443
                } else {
                    80
                };
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
                lookup(host, uri.port_u16().unwrap_or(default))?
            }
            None => DefaultResolver::default()
                .resolve(uri, config, timeout)?
                .to_vec(),
        };
        let mut usable = self.empty();
        let allowed = found
            .iter()
            .filter(|found| self.allowed.allows_address(found.ip()));
        // As many as the array takes.
        for address in allowed.take(16) {
            usable.push(*address);
        }
        match found.first() {
            _ if !usable.is_empty() => Ok(usable),
            Some(refused) => Err(ureq::Error::Other(Box::new(Inner(refused.ip())))),
            None => Err(ureq::Error::HostNotFound),
        }
    }
}
