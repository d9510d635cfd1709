//! Keys that only count in some configurations. Where one does not count it is set to a fixed value,
//! so that runs which cannot differ are one run, with one identity.

use super::config::{
    AlphaWeighs, DataConfig, DataFormat, LOSS_NUMBERS, LossConfig, LossKind, LossNumber, PathList, RunConfig,
    ScheduleConfig, ScheduleKind, SignalKind, SizeConfig, TeacherConfig, TrainConfig,
};
use super::metric::{Measured, Metric};

/// A key that only counts in some configurations.
#[derive(Clone, Copy)]
pub(crate) struct Conditional {
    /// Its dotted name.
    pub key: &'static str,
    /// When it counts, in words: "only …".
    pub when: &'static str,
    rule: Rule,
}

#[derive(Clone, Copy)]
enum Rule {
    /// A number of the kinds of soft loss, whose rows say who reads it.
    LossNumber { reset: fn(&mut LossConfig) },
    /// Anything else.
    Key { counts: fn(&RunConfig) -> bool, reset: fn(&mut RunConfig) },
}

impl Conditional {
    /// Whether it counts.
    pub fn counts(&self, config: &RunConfig) -> bool {
        match self.rule {
            Rule::LossNumber { .. } => config.loss.reads(self.key),
            Rule::Key { counts, .. } => counts(config),
        }
    }

    fn reset(&self, config: &mut RunConfig) {
        match self.rule {
            Rule::LossNumber { reset } => reset(&mut config.loss),
            Rule::Key { reset, .. } => reset(config),
        }
    }
}

const fn only(
    key: &'static str,
    when: &'static str,
    counts: fn(&RunConfig) -> bool,
    reset: fn(&mut RunConfig),
) -> Conditional {
    Conditional { key, when, rule: Rule::Key { counts, reset } }
}

/// Every such key.
pub(crate) static CONDITIONAL: [Conditional; COUNT] = {
    let mut all = [KEYS[0]; COUNT];
    let mut i = 0;
    while i < COUNT {
        all[i] = if i < KEYS.len() {
            KEYS[i]
        } else {
            let LossNumber { key, when, reset, .. } = LOSS_NUMBERS[i - KEYS.len()];
            Conditional { key, when, rule: Rule::LossNumber { reset } }
        };
        i += 1;
    }
    all
};

/// How many there are.
pub(crate) const COUNT: usize = KEYS.len() + LOSS_NUMBERS.len();

/// Those that are no numbers of a kind of soft loss.
const KEYS: [Conditional; 21] = [
    only(
        "loss.temperature",
        "the probabilistic kinds have it",
        |c| c.loss.has_temperature(),
        |c| c.loss.temperature = 1.0,
    ),
    only("loss.alpha", "a soft loss needs it", has_soft_loss, |c| c.loss.alpha = 1.0),
    only("loss.alpha_weighs", "a soft loss needs it", has_soft_loss, |c| {
        c.loss.alpha_weighs = AlphaWeighs::Hard
    }),
    only(
        "schedule.warmup_steps",
        "other kinds than `minimind` have it",
        |c| warms_up(&c.schedule),
        |c| {
            c.schedule.warmup_steps = 0;
        },
    ),
    only(
        "schedule.min_ratio",
        "`cosine`, `linear` and `wsd` have it",
        |c| ends_low(&c.schedule),
        |c| {
            c.schedule.min_ratio = ScheduleConfig::default().min_ratio;
        },
    ),
    only(
        "schedule.decay_ratio",
        "`wsd` has it",
        |c| decays_late(&c.schedule),
        |c| {
            c.schedule.decay_ratio = ScheduleConfig::default().decay_ratio;
        },
    ),
    only(
        "train.epochs",
        "it counts where `train.steps` is not set",
        |c| c.train.steps.is_none(),
        |c| {
            c.train.epochs = 1;
        },
    ),
    only(
        "student.partial",
        "it counts with `student.path` or `student.run`",
        |c| c.student.path.is_some() || c.student.run.is_some(),
        |c| {
            c.student.partial = false;
        },
    ),
    only(
        "data.prompt",
        "`prompt_response` records have it",
        |c| has_fields(&c.data),
        |c| c.data.prompt = None,
    ),
    only(
        "data.response",
        "`prompt_response` records have it",
        |c| has_fields(&c.data),
        |c| c.data.response = None,
    ),
    only("data.system", "conversations have it", |c| has_turns(&c.data), |c| c.data.system = None),
    only(
        "data.chat_template",
        "conversations need it",
        |c| has_turns(&c.data),
        |c| c.data.chat_template = None,
    ),
    only("data.validation_limit", "it counts with `data.validation`", has_validation, |c| {
        c.data.validation_limit = None;
    }),
    only("evaluate.every", "it counts with `data.validation`", has_validation, |c| c.evaluate.every = 0),
    only("evaluate.batch_size", "it counts with `data.validation`", has_validation, |c| {
        c.evaluate.batch_size = super::config::EvaluateConfig::default().batch_size;
    }),
    only(
        "teacher.schedule.warmup_steps",
        "other kinds than `minimind` have it",
        |c| teacher_schedule(c).is_some_and(warms_up),
        |c| with_teacher_schedule(c, |schedule| schedule.warmup_steps = 0),
    ),
    only(
        "teacher.schedule.min_ratio",
        "`cosine`, `linear` and `wsd` have it",
        |c| teacher_schedule(c).is_some_and(ends_low),
        |c| with_teacher_schedule(c, |schedule| schedule.min_ratio = ScheduleConfig::default().min_ratio),
    ),
    only(
        "teacher.schedule.decay_ratio",
        "`wsd` has it",
        |c| teacher_schedule(c).is_some_and(decays_late),
        |c| with_teacher_schedule(c, |schedule| schedule.decay_ratio = ScheduleConfig::default().decay_ratio),
    ),
    only(
        "teacher.train.epochs",
        "it counts where `teacher.train.steps` is not set",
        |c| teacher_train(c).is_some_and(|train| train.steps.is_none()),
        |c| {
            if let Some(train) = c.teacher.as_mut().and_then(|teacher| teacher.train.as_mut()) {
                train.epochs = 1;
            }
        },
    ),
    only(
        "teacher.top_k",
        "`teacher.signal = \"topk\"` has it",
        |c| has_signal(c, SignalKind::Topk),
        |c| with_teacher(c, |teacher| teacher.top_k = None),
    ),
    only(
        "teacher.cache_budget",
        "`teacher.signal = \"auto\"` has it",
        |c| has_signal(c, SignalKind::Auto),
        |c| with_teacher(c, |teacher| teacher.cache_budget = None),
    ),
];

/// Whether a key counts in a configuration.
pub(crate) fn counts(key: &str, config: &RunConfig) -> bool {
    CONDITIONAL.iter().find(|conditional| conditional.key == key).is_none_or(|found| found.counts(config))
}

/// Rewrites a configuration so that equal runs have equal configurations: what does not count is
/// fixed, what has a derived default is filled in, one file in a list is one file.
pub(crate) fn canonicalize(config: &mut RunConfig) {
    for conditional in &CONDITIONAL {
        if !conditional.counts(config) {
            conditional.reset(config);
        }
    }
    canonicalize_paths(&mut config.data.train);
    canonicalize_paths(&mut config.data.validation);
    if config.student.path.is_none() && config.student.run.is_none() {
        fill_in(&mut config.student.size);
    }
    if let Some(teacher) =
        config.teacher.as_mut().filter(|teacher| teacher.path.is_none() && teacher.run.is_none())
    {
        fill_in(&mut teacher.size);
        teacher.train.get_or_insert_default();
        teacher.optimizer.get_or_insert_default();
        teacher.schedule.get_or_insert_default();
    }
    if has_signal(config, SignalKind::Topk) {
        with_teacher(config, |teacher| _ = teacher.top_k.get_or_insert(TeacherConfig::TOP_K));
    }
}

/// The loss of a baseline: labels alone.
pub(crate) fn baseline_of(config: &RunConfig) -> RunConfig {
    let loss = LossConfig { kind: LossKind::None, ..LossConfig::default() };
    let mut baseline = RunConfig { loss, ..config.clone() };
    canonicalize(&mut baseline);
    baseline
}

fn canonicalize_paths(paths: &mut PathList) {
    match paths {
        PathList::Many(many) if many.is_empty() => *paths = PathList::None,
        PathList::Many(many) if many.len() == 1 => *paths = PathList::One(many.remove(0)),
        _ => {}
    }
}

/// The vocabulary alone is not filled in where it is left out: it is the tokenizer's.
fn fill_in(size: &mut SizeConfig) {
    let Ok(resolved) = size.resolve(1) else { return };
    *size = SizeConfig {
        hidden_size: Some(resolved.hidden_size),
        layers: Some(resolved.layers),
        heads: Some(resolved.heads),
        kv_heads: Some(resolved.kv_heads),
        intermediate_size: Some(resolved.intermediate_size),
        vocab_size: size.vocab_size,
        tie_word_embeddings: Some(resolved.tie_word_embeddings),
        rope_theta: Some(resolved.rope_theta),
        rms_norm_eps: Some(resolved.rms_norm_eps),
        initializer_range: Some(resolved.initializer_range),
    };
}

/// Whether every evaluation of such a run holds a metric.
pub(crate) fn is_measured(metric: &Metric, config: &RunConfig) -> bool {
    match metric.measured {
        Measured::EveryRow | Measured::Evaluation => true,
        Measured::WithTeacher => config.teacher.is_some(),
        Measured::WithSoftLoss => config.teacher.is_some() && has_soft_loss(config),
        Measured::Run => false,
    }
}

fn has_soft_loss(config: &RunConfig) -> bool {
    config.loss.kind != LossKind::None
}

fn has_validation(config: &RunConfig) -> bool {
    !config.data.validation.as_slice().is_empty()
}

fn warms_up(schedule: &ScheduleConfig) -> bool {
    schedule.kind != ScheduleKind::Minimind
}

fn ends_low(schedule: &ScheduleConfig) -> bool {
    matches!(schedule.kind, ScheduleKind::Cosine | ScheduleKind::Linear | ScheduleKind::Wsd)
}

fn decays_late(schedule: &ScheduleConfig) -> bool {
    schedule.kind == ScheduleKind::Wsd
}

fn has_fields(data: &DataConfig) -> bool {
    matches!(data.format, DataFormat::Auto | DataFormat::PromptResponse)
}

fn has_turns(data: &DataConfig) -> bool {
    !matches!(data.format, DataFormat::Text | DataFormat::Tokenized)
}

fn teacher_train(config: &RunConfig) -> Option<&TrainConfig> {
    config.teacher.as_ref()?.train.as_ref()
}

fn teacher_schedule(config: &RunConfig) -> Option<&ScheduleConfig> {
    config.teacher.as_ref()?.schedule.as_ref()
}

fn has_signal(config: &RunConfig, signal: SignalKind) -> bool {
    config.teacher.as_ref().is_some_and(|teacher| teacher.signal == signal)
}

fn with_teacher(config: &mut RunConfig, change: impl FnOnce(&mut TeacherConfig)) {
    if let Some(teacher) = &mut config.teacher {
        change(teacher);
    }
}

fn with_teacher_schedule(config: &mut RunConfig, change: impl FnOnce(&mut ScheduleConfig)) {
    if let Some(schedule) = config.teacher.as_mut().and_then(|teacher| teacher.schedule.as_mut()) {
        change(schedule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_makes_no_difference() {
        let with = |kind, temperature, alpha, beta, skew| {
            let loss = LossConfig { kind, temperature, alpha, beta, skew, ..LossConfig::default() };
            let mut config = RunConfig { loss, ..RunConfig::default() };
            canonicalize(&mut config);
            config
        };
        let none = with(LossKind::None, 1.0, 1.0, 0.5, 0.1);
        assert_eq!(with(LossKind::None, 4.0, 0.3, 0.1, 0.7), none);
        assert_eq!(none.loss.alpha, 1.0);
        assert_eq!(
            with(LossKind::LogitMse, 4.0, 0.3, 0.1, 0.7),
            with(LossKind::LogitMse, 2.0, 0.3, 0.2, 0.2)
        );
        assert_ne!(
            with(LossKind::LogitMse, 4.0, 0.3, 0.1, 0.7),
            with(LossKind::LogitMse, 4.0, 0.4, 0.1, 0.7)
        );
        assert_eq!(with(LossKind::Js, 4.0, 0.3, 0.1, 0.7), with(LossKind::Js, 4.0, 0.3, 0.1, 0.2));
        assert_ne!(with(LossKind::Js, 4.0, 0.3, 0.1, 0.7), with(LossKind::Js, 4.0, 0.3, 0.2, 0.7));
        assert_ne!(with(LossKind::Tvd, 4.0, 0.3, 0.1, 0.7), with(LossKind::Tvd, 2.0, 0.3, 0.1, 0.7));
    }

    #[test]
    fn a_default_that_is_written_out_makes_no_difference() {
        let size =
            |heads| SizeConfig { hidden_size: Some(64), layers: Some(1), heads, ..SizeConfig::default() };
        let config = |heads, train| {
            let teacher = TeacherConfig { size: size(heads), train, ..TeacherConfig::default() };
            let mut config = RunConfig { teacher: Some(teacher), ..RunConfig::default() };
            config.student.size = size(heads);
            canonicalize(&mut config);
            config
        };
        assert_eq!(config(None, None), config(Some(8), Some(TrainConfig::default())));
        assert_ne!(config(None, None), config(Some(4), None));
        assert_eq!(config(None, None).student.size.intermediate_size, Some(192));
    }

    #[test]
    fn canonical_configurations_stay_as_they_are() {
        let mut config = RunConfig::default();
        config.data.train = PathList::Many(vec!["a".into()]);
        canonicalize(&mut config);
        assert_eq!(config.data.train, PathList::One("a".into()));
        let once = config.clone();
        canonicalize(&mut config);
        assert_eq!(config, once);
    }
}
