//! "Did you mean ...?"

/// The candidate that `given` is most likely a misspelling of.
pub(crate) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| -> String {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(64).collect()
    };
    let given = plain(given);
    let scored = candidates.into_iter().map(|candidate| {
        let name = plain(candidate);
        // A name that others use for the same thing ("num_inference_steps", "cfg_scale") contains ours or shares its end.
        let contains = name.len() > 3 && given.contains(&name);
        let score = if contains { 0.95 } else { strsim::jaro_winkler(&given, &name) };
        (score, candidate)
    });
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::FIELD_NAMES;

    #[test]
    fn misspellings_and_other_servers_names_find_ours() {
        for (given, want) in [
            ("promt", "prompt"),
            ("Prompt", "prompt"),
            ("negativePrompt", "negative_prompt"),
            ("num_inference_steps", "steps"),
            ("guidanceScale", "guidance_scale"),
            ("sheduler", "scheduler"),
            ("widht", "width"),
            ("seeds", "seed"),
            ("denoising_strength", "strength"),
        ] {
            assert_eq!(nearest(given, FIELD_NAMES), Some(want), "{given}");
        }
        for given in ["zzz", "", "loras", "日本"] {
            assert_eq!(nearest(given, FIELD_NAMES), None, "{given}");
        }
    }
}
