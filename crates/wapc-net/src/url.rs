//! URLs, as far as requests and redirects need them.

use ureq::http::Uri;

/// A URL of the schemes `http` or `https` with a host, without user and
/// password; a fragment is dropped.
pub(crate) fn parse(url: &str) -> Option<Uri> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let url: Uri = url.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority()?;
    let port = authority.as_str().strip_prefix(authority.host())?;
    let named = !authority.host().is_empty() && (port.is_empty() || authority.port_u16().is_some());
    (known && named).then_some(url)
}

/// The URL that a `Location` header means, seen from `base`.
pub(crate) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split_once('#').map_or(location, |(url, _)| url);
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return parse(&format!("{scheme}://{rest}"));
    }
    let path_end = location.find(['/', '?']).unwrap_or(location.len());
    if location.get(..path_end)?.contains(':') {
        return parse(location);
    }
    let path = match location.chars().next() {
        None => base
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned(),
        Some('/') => without_dots(location),
        Some('?') => format!("{}{location}", base.path()),
        Some(_) => {
            let folder = base
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{location}"))
        }
    };
    parse(&format!("{scheme}://{authority}{path}"))
}

/// A path without `.` and `..`; its query stays as it is.
fn without_dots(path_and_query: &str) -> String {
    let (path, query) = match path_and_query.find('?') {
        Some(at) => path_and_query.split_at(at),
        None => (path_and_query, ""),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{join, parse};

    #[test]
    fn locations_are_joined_as_browsers_do() {
        let base = parse("http://a.com:81/b/c/d?q=1").unwrap();
        for (location, url) in [
            ("http://x.com/y", "http://x.com/y"),
            ("https://x.com", "https://x.com/"),
            ("//x.com/y", "http://x.com/y"),
            ("/y/../z", "http://a.com:81/z"),
            ("y", "http://a.com:81/b/c/y"),
            ("./y", "http://a.com:81/b/c/y"),
            ("../y?r=../s", "http://a.com:81/b/y?r=../s"),
            ("../../../..", "http://a.com:81/"),
            ("?r", "http://a.com:81/b/c/d?r"),
            ("", "http://a.com:81/b/c/d?q=1"),
            ("#part", "http://a.com:81/b/c/d?q=1"),
            ("y#part", "http://a.com:81/b/c/y"),
            ("y?u=http://z", "http://a.com:81/b/c/y?u=http://z"),
        ] {
            assert_eq!(
                join(&base, location).unwrap().to_string(),
                url,
                "{location}"
            );
        }
    }

    #[test]
    fn other_schemes_and_urls_with_a_password_are_none() {
        for url in [
            "file:///etc/passwd",
            "ftp://a.com/",
            "http://",
            "a.com",
            "/a",
            "http://u:p@a.com/",
            "http://a b/",
            "http://a.com:x/",
            "http://a.com:99999/",
        ] {
            assert!(parse(url).is_none(), "{url}");
        }
        let base = parse("http://a.com/").unwrap();
        for location in [
            "file:///etc/passwd",
            "javascript:1",
            "//u@x.com/",
            "http://",
        ] {
            assert!(join(&base, location).is_none(), "{location}");
        }
    }
}
