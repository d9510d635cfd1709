//! What a user may have meant by a name that kdx does not know.

use strsim::{damerau_levenshtein, jaro_winkler};

/// Names that other tools use for ours.
const OTHER_NAMES: [(&str, &str); 36] = [
    ("lr", "learning_rate"),
    ("wd", "weight_decay"),
    ("eps", "epsilon"),
    ("adam_beta1", "beta1"),
    ("adam_beta2", "beta2"),
    ("grad_clip", "clip_norm"),
    ("max_grad_norm", "clip_norm"),
    ("tau", "temperature"),
    ("t", "temperature"),
    ("d_model", "hidden_size"),
    ("dim", "hidden_size"),
    ("width", "hidden_size"),
    ("depth", "layers"),
    ("n_layers", "layers"),
    ("num_layers", "layers"),
    ("num_hidden_layers", "layers"),
    ("n_heads", "heads"),
    ("num_heads", "heads"),
    ("num_attention_heads", "heads"),
    ("n_kv_heads", "kv_heads"),
    ("num_key_value_heads", "kv_heads"),
    ("seq_len", "max_length"),
    ("max_seq_len", "max_length"),
    ("max_steps", "steps"),
    ("num_train_epochs", "epochs"),
    ("num_epochs", "epochs"),
    ("gradient_accumulation_steps", "accumulation"),
    ("accumulation_steps", "accumulation"),
    ("per_device_train_batch_size", "batch_size"),
    ("warmup", "warmup_steps"),
    ("kl", "forward_kl"),
    ("jsd", "js"),
    ("mse", "logit_mse"),
    ("scheduler", "schedule"),
    ("eval", "evaluate"),
    ("dataset", "data"),
];

/// The candidate that a name most likely stands for, if one is near.
pub(crate) fn find_nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = normalize(name);
    let wanted_elsewhere = OTHER_NAMES.iter().find(|(other, _)| *other == wanted).map(|(_, ours)| *ours);
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let ours = normalize(candidate);
        if ours == wanted || wanted_elsewhere == Some(candidate) {
            return Some(candidate);
        }
        let distance = damerau_levenshtein(&wanted, &ours);
        let longest = wanted.chars().count().max(ours.chars().count());
        // A third of the letters may be wrong, or the name is cut short.
        let is_cut = wanted.len() >= 3 && ours.starts_with(&wanted);
        let near = is_cut || distance * 3 <= longest || jaro_winkler(&wanted, &ours) > 0.9;
        let score = distance as f64 / longest as f64 - jaro_winkler(&wanted, &ours);
        if near && best.is_none_or(|(least, _)| score < least) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Lower case, with `_` for every `-` and blank: `Forward-KL` is `forward_kl`.
fn normalize(name: &str) -> String {
    name.trim().to_lowercase().replace(['-', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_found() {
        let keys = ["kind", "temperature", "alpha", "alpha_weighs", "beta", "skew"];
        assert_eq!(find_nearest("temprature", keys), Some("temperature"));
        assert_eq!(find_nearest("temp", keys), Some("temperature"));
        assert_eq!(find_nearest("Alpha", keys), Some("alpha"));
        assert_eq!(find_nearest("alpha-weighs", keys), Some("alpha_weighs"));
        assert_eq!(find_nearest("aplha", keys), Some("alpha"));
    }

    #[test]
    fn other_tools_names_are_known() {
        assert_eq!(find_nearest("lr", ["beta1", "learning_rate"]), Some("learning_rate"));
        assert_eq!(find_nearest("num_hidden_layers", ["layers", "hidden_size"]), Some("layers"));
        assert_eq!(find_nearest("Forward-KL", ["reverse_kl", "forward_kl"]), Some("forward_kl"));
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(find_nearest("dropout", ["kind", "temperature", "alpha"]), None);
        assert_eq!(find_nearest("x", ["js", "tvd"]), None);
    }
}
