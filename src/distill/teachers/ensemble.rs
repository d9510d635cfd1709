//! All teachers of a student, each with the weight of its soft loss.

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use super::super::objective::Weighted;
use super::choose::Teacher;
use super::signal::Signal;
use crate::data::Batch;

/// Whoever can say what a student should have answered.
pub trait Teach {
    /// What the objective takes of each teacher for a batch; nothing where the student learns from labels
    /// alone.
    ///
    /// # Errors
    /// Where a file turns out to be damaged, and the teacher cannot be loaded to take its place.
    fn teach(&self, batch: &DeviceBatch) -> Result<Vec<Weighted>, DistillError>;
}

/// The signals of one split, one of each teacher.
#[derive(Debug, Default)]
pub(in super::super) struct Ensemble(Vec<(Signal, f64)>);

impl Ensemble {
    /// Whether any signal wants to know what it will be asked for, see [`Self::read_ahead`].
    pub(in super::super) fn reads_ahead(&self) -> bool {
        self.0.iter().any(|(signal, _)| signal.reads_ahead())
    }

    /// Begins to read what these batches will take, while the device is busy with those before.
    pub(in super::super) fn read_ahead(&self, batches: &[Batch]) {
        for (signal, _) in self.0.iter().filter(|(signal, _)| signal.reads_ahead()) {
            signal.read_ahead(batches);
        }
    }
}

impl Teach for Ensemble {
    fn teach(&self, batch: &DeviceBatch) -> Result<Vec<Weighted>, DistillError> {
        let teach = |(signal, weight): &(Signal, f64)| {
            signal.teach(batch).map(|taught| Weighted { taught, weight: *weight })
        };
        self.0.iter().map(teach).collect()
    }
}

/// All teachers of a run.
#[derive(Debug, Default)]
pub(in super::super) struct Teachers {
    /// What the student is taught with; empty where it learns from labels alone.
    pub(in super::super) training: Ensemble,
    /// What it is measured against; empty without held-out data.
    pub(in super::super) validation: Ensemble,
    /// Of all of them together; none without a teacher.
    pub(in super::super) parameters: Option<u64>,
}

impl Teachers {
    /// Adds a teacher whose soft loss is multiplied by `weight`.
    pub(in super::super) fn add(&mut self, teacher: Teacher, weight: f64) {
        let Teacher { training, validation, parameters } = teacher;
        self.training.0.extend(training.map(|signal| (signal, weight)));
        self.validation.0.extend(validation.map(|signal| (signal, weight)));
        *self.parameters.get_or_insert_default() += parameters;
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::{ModelConfig, Transformer};
    use crate::spec::SizeConfig;

    #[test]
    fn every_teacher_is_asked_and_keeps_its_weight() {
        let teacher = |hidden_size| {
            let size = SizeConfig {
                hidden_size: Some(hidden_size),
                layers: Some(1),
                heads: Some(1),
                ..SizeConfig::default()
            };
            let config = ModelConfig::from_size(&size, 16).unwrap();
            let model = Transformer::random(&config, 0, &Device::flex());
            let signal = Some(Signal::Online(Box::new(model.frozen())));
            Teacher { training: signal, validation: None, parameters: config.parameters() }
        };
        let mut teachers = Teachers::default();
        assert_eq!(teachers.parameters, None);
        let (small, large) = (teacher(8), teacher(16));
        let parameters = small.parameters + large.parameters;
        teachers.add(small, 0.25);
        teachers.add(large, 0.75);
        assert_eq!(teachers.parameters, Some(parameters));

        let batch = Batch {
            input_ids: vec![5, 6, 7],
            labels: vec![5, 6, 7],
            batch: 1,
            seq: 3,
            tokens: 3,
            sequences: vec![0],
        };
        let batch = DeviceBatch::new(&batch, &Device::flex()).unwrap();
        let taught = teachers.training.teach(&batch).unwrap();
        assert_eq!(taught.iter().map(|teacher| teacher.weight).collect::<Vec<_>>(), [0.25, 0.75]);
        assert!(teachers.validation.teach(&batch).unwrap().is_empty());
    }
}
