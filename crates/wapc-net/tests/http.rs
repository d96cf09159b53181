//! The client against servers on the loopback that answer as written here.
#![expect(clippy::unwrap_used, reason = "a test without its server fails")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use wapc_net::{AllowedHosts, HttpClient, HttpError, HttpLimits, HttpRequest, Source, SourceError};

/// A server that answers by the path asked for, and keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    request.push(byte[0]);
                }
                let mut request = String::from_utf8(request).unwrap();
                let length = request.to_lowercase().lines().find_map(|line| {
                    line.strip_prefix("content-length: ")
                        .map(|length| length.parse::<usize>().unwrap())
                });
                let mut body = vec![0; length.unwrap_or(0)];
                stream.read_exact(&mut body).unwrap();
                request.push_str(&String::from_utf8(body).unwrap());
                let path = request.split(' ').nth(1).unwrap_or("").to_owned();
                seen.lock().unwrap().push(request);
                // A client that has hung up is no concern of this one.
                stream.write_all(answer(&path).as_bytes()).ok();
            }
        });
        Self { address, asked }
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// A client that finds this server under every name.
    fn client(&self, hosts: &[&str]) -> HttpClient {
        let address = self.address;
        HttpClient::with_lookup(AllowedHosts::new(hosts).unwrap(), move |_, _| {
            Ok(vec![address])
        })
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn redirect(status: u16, location: &str) -> String {
    format!(
        "HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

#[test]
fn an_allowed_host_answers() {
    let server = Server::start(|_| ok("hello"));
    let client = server.client(&["a.test", "localhost"]);
    let request = HttpRequest::new(server.url("a.test", "/x"))
        .method("post")
        .header("X-B", "3")
        .body("body");
    let response = client.send(&request, &HttpLimits::default()).unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, &b"hello"[..])
    );
    assert_eq!(response.headers["x-a"], "1, 2");
    let asked = &server.asked()[0];
    assert!(
        asked.starts_with("POST /x HTTP/1.1\r\n") && asked.ends_with("body"),
        "{asked}"
    );
    assert!(asked.to_lowercase().contains("x-b: 3"), "{asked}");
}

#[test]
fn a_status_of_failure_is_a_response_but_not_a_source() {
    let server = Server::start(|_| {
        "HTTP/1.1 404 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".to_owned()
    });
    let client = server.client(&["a.test", "localhost"]);
    let request = HttpRequest::new(server.url("a.test", "/"));
    let response = client.send(&request, &HttpLimits::default()).unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (404, &b"no"[..])
    );
    let refused = Source::url(request).fetch(Some(&client), 100);
    assert!(
        matches!(refused, Err(SourceError::Status { status: 404, .. })),
        "{refused:?}"
    );
}

#[test]
fn hosts_that_are_not_listed_are_not_asked() {
    let server = Server::start(|_| ok("secret"));
    let client = server.client(&["a.test", "localhost"]);
    for host in ["b.test", "127.0.0.1", "2130706433", "[::1]"] {
        let refused = client.send(
            &HttpRequest::new(server.url(host, "/")),
            &HttpLimits::default(),
        );
        assert!(
            matches!(
                refused,
                Err(HttpError::HostNotAllowed {
                    redirected: false,
                    ..
                })
            ),
            "{host}: {refused:?}"
        );
    }
    for url in ["file:///etc/passwd", "nonsense", "http://u:p@a.test/"] {
        let refused = client.send(&HttpRequest::new(url), &HttpLimits::default());
        assert!(
            matches!(refused, Err(HttpError::Url { .. })),
            "{url}: {refused:?}"
        );
    }
    assert!(server.asked().is_empty());
}

#[test]
fn a_name_of_the_inner_network_is_refused_unless_its_address_is_listed() {
    let server = Server::start(|_| ok("inner"));
    let url = server.url("a.test", "/");
    let refused = server
        .client(&["*"])
        .send(&HttpRequest::new(&url), &HttpLimits::default());
    assert!(
        matches!(refused, Err(HttpError::AddressNotAllowed { .. })),
        "{refused:?}"
    );
    assert!(server.asked().is_empty());
    let response = server
        .client(&["a.test", "127.0.0.1"])
        .send(&HttpRequest::new(&url), &HttpLimits::default());
    assert_eq!(response.unwrap().body, b"inner");
}

#[test]
fn each_redirect_is_checked() {
    let other = Server::start(|_| ok("secret"));
    let port = other.address.port();
    let server = Server::start(move |path| match path {
        "/host" => redirect(302, &format!("http://b.test:{port}/")),
        "/address" => redirect(302, &format!("http://127.0.0.1:{port}/")),
        "/file" => redirect(302, "file:///etc/passwd"),
        "/round" => redirect(302, "/round"),
        "/twice" => redirect(307, "once"),
        "/once" => redirect(303, "/end"),
        _ => ok("end"),
    });
    let client = server.client(&["a.test", "localhost"]);
    let send = |path: &str| {
        let request = HttpRequest::new(server.url("a.test", path))
            .method("PUT")
            .body("x");
        client.send(&request, &HttpLimits::default().max_redirects(3))
    };
    for path in ["/host", "/address"] {
        let refused = send(path);
        assert!(
            matches!(
                refused,
                Err(HttpError::HostNotAllowed {
                    redirected: true,
                    ..
                })
            ),
            "{path}: {refused:?}"
        );
    }
    assert!(matches!(send("/file"), Err(HttpError::Url { .. })));
    assert!(matches!(
        send("/round"),
        Err(HttpError::Redirects { limit: 3 })
    ));
    assert_eq!(send("/twice").unwrap().body, b"end");
    assert!(other.asked().is_empty());
    let asked = server.asked();
    let last: Vec<_> = asked
        .iter()
        .rev()
        .take(3)
        .map(|asked| asked.split(' ').next().unwrap())
        .collect();
    assert_eq!(last, ["GET", "PUT", "PUT"]);
}

#[test]
fn secrets_do_not_follow_to_another_host() {
    let server = Server::start(|path| {
        if path == "/away" {
            redirect(307, "//b.test/end")
        } else {
            ok("end")
        }
    });
    let address = server.address;
    let hosts = AllowedHosts::new(["a.test", "b.test", "localhost"]).unwrap();
    let client = HttpClient::with_lookup(hosts, move |_, _| Ok(vec![address]));
    let request = HttpRequest::new("http://a.test/away")
        .header("Authorization", "s")
        .header("X-C", "c");
    client.send(&request, &HttpLimits::default()).unwrap();
    let asked = server.asked();
    assert!(
        asked[0].to_lowercase().contains("authorization: s"),
        "{asked:?}"
    );
    assert!(
        !asked[1].to_lowercase().contains("authorization"),
        "{asked:?}"
    );
    assert!(asked[1].to_lowercase().contains("x-c: c"), "{asked:?}");
}

#[test]
fn size_and_time_are_limited() {
    let server = Server::start(|path| match path {
        "/endless" => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789".to_owned(),
        "/slow" => {
            thread::sleep(Duration::from_secs(2));
            ok("late")
        }
        _ => ok("12345"),
    });
    let client = server.client(&["a.test", "localhost"]);
    let send = |path: &str, limits: HttpLimits| {
        client.send(&HttpRequest::new(server.url("a.test", path)), &limits)
    };
    let limits = HttpLimits::default();
    assert_eq!(
        send("/", limits.max_response_bytes(5)).unwrap().body,
        b"12345"
    );
    let refused = send("/", limits.max_response_bytes(4));
    assert!(
        matches!(refused, Err(HttpError::TooLarge { limit: 4 })),
        "{refused:?}"
    );
    let refused = send("/endless", limits.max_response_bytes(9));
    assert!(
        matches!(refused, Err(HttpError::TooLarge { limit: 9 })),
        "{refused:?}"
    );
    let refused = send("/slow", limits.timeout(Duration::from_millis(50)));
    assert!(
        matches!(refused, Err(HttpError::TimedOut { .. })),
        "{refused:?}"
    );
    let refused = send("/", limits.timeout(Duration::ZERO));
    assert!(
        matches!(refused, Err(HttpError::TimedOut { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_http_does_not_know_is_refused() {
    let server = Server::start(|_| ok(""));
    let client = server.client(&["a.test", "localhost"]);
    let request = || HttpRequest::new(server.url("a.test", "/"));
    for bad in [
        request().method("GET /x"),
        request().header("a b", "c"),
        request().header("a", "b\r\nHost: c"),
    ] {
        let refused = client.send(&bad, &HttpLimits::default());
        assert!(
            matches!(refused, Err(HttpError::Request { .. })),
            "{refused:?}"
        );
    }
    let with_host = request()
        .header("Host", "b.test")
        .header("Content-Length", "9")
        .header("Transfer-Encoding", "x");
    client.send(&with_host, &HttpLimits::default()).unwrap();
    let asked = server.asked().concat().to_lowercase();
    assert!(
        asked.contains("host: a.test") && !asked.contains("b.test"),
        "{asked}"
    );
    assert!(!asked.contains("transfer-encoding"), "{asked}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn https_without_tls_says_so() {
    let client = HttpClient::new(AllowedHosts::new(["a.test"]).unwrap());
    let refused = client.send(&HttpRequest::new("https://a.test/"), &HttpLimits::default());
    assert!(
        matches!(refused, Err(HttpError::NoTls { .. })),
        "{refused:?}"
    );
}
