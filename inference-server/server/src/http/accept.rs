//! Which form of the picture a client wants (RFC 9110, section 12.5.1).

use diffusion_pipeline::ImageFormat;
use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// What the answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Format of the picture.
    pub(super) format: ImageFormat,
    /// Events while it is drawn, and then the picture in one.
    pub(super) events: bool,
}

/// In the order of our preference, where the client has none.
const FORMATS: [ImageFormat; 3] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
const EVENTS: &str = "text/event-stream";

/// The form that fits best; `None` when the client accepts nothing that we have. Without the header it is PNG.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<Form> {
    let mut ranges = Vec::new();
    for value in headers.get_all(ACCEPT) {
        let Ok(text) = value.to_str() else { continue };
        ranges.extend(text.split(',').filter_map(range).take(100));
    }
    if !headers.contains_key(ACCEPT) {
        ranges.push(("*/*".into(), 1.0));
    }
    let images = FORMATS.map(|format| (format, quality(&ranges, format.media_type())));
    let best = images.into_iter().fold(None, |best: Option<(ImageFormat, f64)>, (format, q)| match best {
        Some((_, most)) if most >= q => best,
        _ => (q > 0.0).then_some((format, q)),
    });
    // A wildcard means "a picture": only who names event streams gets one.
    let events = ranges.iter().find(|(name, _)| name == EVENTS).map_or(0.0, |(_, q)| *q);
    if events > 0.0 && best.is_none_or(|(_, q)| events >= q) {
        let format = best.map_or(ImageFormat::Png, |(format, _)| format);
        return Some(Form { format, events: true });
    }
    best.map(|(format, _)| Form { format, events: false })
}

/// `image/*;q=0.5` to its name in small letters and its quality; nothing when the quality is not one.
fn range(text: &str) -> Option<(String, f64)> {
    let mut parts = text.split(';');
    let name = parts.next()?.trim().to_ascii_lowercase();
    let mut quality = 1.0;
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        if key.trim().eq_ignore_ascii_case("q") {
            quality = value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
        }
    }
    (!name.is_empty()).then_some((name, quality))
}

/// Quality of a media type: the most specific range that matches decides.
fn quality(ranges: &[(String, f64)], media_type: &str) -> f64 {
    for wanted in [media_type, "image/*", "*/*"] {
        if let Some((_, q)) = ranges.iter().find(|(name, _)| name == wanted) {
            return *q;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &[&str]) -> Option<(ImageFormat, bool)> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        negotiate(&headers).map(|form| (form.format, form.events))
    }

    #[test]
    fn the_best_form_wins() {
        use ImageFormat::{Jpeg, Png, WebP};
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        for (accept, want) in [
            (&[][..], Some((Png, false))),
            (&["*/*"], Some((Png, false))),
            (&["image/*"], Some((Png, false))),
            (&["image/jpeg"], Some((Jpeg, false))),
            (&["IMAGE/WEBP"], Some((WebP, false))),
            (&["image/png;q=0.5, image/jpeg;q=0.9"], Some((Jpeg, false))),
            (&["image/png;q=0.5", "image/webp"], Some((WebP, false))),
            (&["image/*;q=0.5, image/png;q=0"], Some((Jpeg, false))),
            (&[browser], Some((WebP, false))),
            (&["text/event-stream"], Some((Png, true))),
            (&["text/event-stream, image/webp"], Some((WebP, true))),
            (&["text/event-stream;q=0.1, image/webp"], Some((WebP, false))),
            (&["application/json"], None),
            (&["image/gif"], None),
            (&["image/png;q=0"], None),
            (&["*/*;q=0"], None),
            (&["image/png;q=nan"], None),
            (&["image/png;q=7"], None),
            (&[""], None),
            (&[";;;,,,=;q"], None),
        ] {
            assert_eq!(form(accept), want, "{accept:?}");
        }
    }
}
