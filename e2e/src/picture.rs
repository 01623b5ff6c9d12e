//! Looking at pictures.

use png::{ColorType, Decoder};

use crate::{
    cluster::Cluster,
    failure::{Outcome, ensure, fail},
};

/// A picture's pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    rgb: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PNG.
    pub(crate) fn read(png: &[u8]) -> Outcome<Self> {
        let mut reader = Decoder::new(std::io::Cursor::new(png)).read_info()?;
        let Some(size) = reader.output_buffer_size() else { fail!("the picture is too large") };
        let mut bytes = vec![0; size];
        let info = reader.next_frame(&mut bytes)?;
        let channels = match info.color_type {
            ColorType::Rgb => 3,
            ColorType::Rgba => 4,
            other => fail!("a picture with colours of type {other:?}"),
        };
        let rgb = bytes.chunks_exact(channels).map(|p| [p[0], p[1], p[2]]).collect();
        Ok(Self { width: info.width, height: info.height, rgb })
    }

    /// The share of pixels that are clearly red.
    pub(crate) fn red(&self) -> f64 {
        self.share(|[r, g, b]| i32::from(r) > i32::from(g) + 40 && i32::from(r) > i32::from(b) + 40)
    }

    /// How many brightnesses there are, of 256: a blank picture has one.
    pub(crate) fn shades(&self) -> usize {
        let mut seen = [false; 256];
        for [r, g, b] in &self.rgb {
            seen[(usize::from(*r) + usize::from(*g) + usize::from(*b)) / 3] = true;
        }
        seen.iter().filter(|s| **s).count()
    }

    fn share(&self, holds: impl Fn([u8; 3]) -> bool) -> f64 {
        self.rgb.iter().filter(|p| holds(**p)).count() as f64 / self.rgb.len().max(1) as f64
    }
}

/// Fails unless these bytes are a picture of a red apple, of this size.
pub(crate) fn is_a_red_apple(png: &[u8], side: u32) -> Outcome {
    let picture = Picture::read(png)?;
    ensure!((picture.width, picture.height) == (side, side), "{} x {} pixels", picture.width, picture.height);
    let (red, shades) = (picture.red(), picture.shades());
    ensure!(red > 0.2, "only {:.0} % of the apple's picture is red", red * 100.0);
    ensure!(shades > 40, "the picture has only {shades} shades");
    Ok(())
}

/// What the server's image draws by `diffusion-server generate`, in a container without Kubernetes.
pub(crate) async fn reference(cluster: &Cluster, arguments: &[&str]) -> Outcome<Vec<u8>> {
    let Some((node, _)) = cluster.nodes().await?.into_iter().find(|n| n.1) else { fail!("no node is Ready") };
    let image = cluster.image("server", None);
    // Of a run that was broken off.
    let _ =
        cluster.in_node(&node, &["ctr", "-n", "k8s.io", "containers", "rm", "e2e-reference"]).text().await;
    let run = ["ctr", "-n", "k8s.io", "run", "--rm", &image, "e2e-reference"];
    let generate = ["/usr/local/bin/diffusion-server", "generate", "--output", "-", "--quiet"];
    cluster.in_node(&node, &[&run[..], &generate, arguments].concat()).bytes().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apple_in_the_docs_is_one_and_a_blank_picture_is_not() {
        let apple = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/images/apple.png")).unwrap();
        let side = Picture::read(&apple).unwrap().width;
        is_a_red_apple(&apple, side).unwrap();
        assert!(is_a_red_apple(&apple, side + 8).is_err());
        let mut blank = Vec::new();
        let mut encoder = png::Encoder::new(&mut blank, 8, 8);
        encoder.set_color(ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[[200u8, 0, 0]; 64].concat()).unwrap();
        assert!(is_a_red_apple(&blank, 8).is_err());
        assert!(is_a_red_apple(b"no picture", 8).is_err());
    }
}
