//! Addresses: putting them together, and following redirects from them.

use std::fmt::Write as _;

use hyper::Uri;

/// `Location` seen from `base`.
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    if location.contains("://") {
        return location.parse().ok().filter(|uri: &Uri| uri.host().is_some());
    }
    let scheme = base.scheme_str()?;
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    let authority = base.authority()?;
    if location.starts_with('/') {
        return format!("{scheme}://{authority}{location}").parse().ok();
    }
    let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{scheme}://{authority}{folder}/{location}").parse().ok()
}

/// Whether a secret for one may be sent to the other: same scheme, host and port.
pub(super) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port =
        |uri: &Uri| uri.port_u16().or(if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

/// Without the query, which may be a signature that is as good as a password.
pub(super) fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

/// A piece of a path: everything but letters, digits and `-._~` is escaped.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The address with `rel="next"` in a `Link` header (RFC 8288).
pub(super) fn next_page(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (address, parameters) = link.split_once(';')?;
        let next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        next.then(|| address.trim().strip_prefix('<')?.strip_suffix('>'))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_should() {
        let base: Uri = "https://hub.example:8443/a/b/resolve/main/x?y=1".parse().unwrap();
        for (location, want) in [
            ("https://cdn.example/z?sig=1", "https://cdn.example/z?sig=1"),
            ("//cdn.example/z", "https://cdn.example/z"),
            ("/api/resolve-cache/x", "https://hub.example:8443/api/resolve-cache/x"),
            ("z?q", "https://hub.example:8443/a/b/resolve/main/z?q"),
        ] {
            assert_eq!(join(&base, location).unwrap().to_string(), want, "{location}");
        }
        assert_eq!(join(&base, "https://"), None);
        assert_eq!(join(&base, "/a b"), None);
    }

    #[test]
    fn a_secret_stays_with_its_origin() {
        let same = |a: &str, b: &str| same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://hub.example/a", "https://HUB.example:443/b"));
        assert!(same("http://hub.example", "http://hub.example:80"));
        for other in [
            "http://hub.example",
            "https://hub.example:444",
            "https://cdn.hub.example",
            "https://hub.example.org",
        ] {
            assert!(!same("https://hub.example", other), "{other}");
        }
    }

    #[test]
    fn signatures_and_passwords_are_not_shown() {
        let uri: Uri = "https://me:secret@cdn.example/z?sig=1".parse().unwrap();
        assert_eq!(shown(&uri), "https://cdn.example/z");
        assert_eq!(escape("refs/pr/1 é"), "refs%2Fpr%2F1%20%C3%A9");
    }

    #[test]
    fn the_next_page_is_found() {
        let header = "<https://h/a?cursor=1>; rel=\"prev\", <https://h/a?cursor=3>; rel=\"next\"";
        assert_eq!(next_page(header), Some("https://h/a?cursor=3"));
        assert_eq!(next_page("<https://h/a>; rel=\"last\""), None);
        assert_eq!(next_page("nonsense"), None);
    }
}
