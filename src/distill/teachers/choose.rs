//! Which signal a run uses.

use std::path::Path;

use burn::tensor::Device;
use cubecl_environment::stream::StreamId;

use super::super::error::DistillError;
use super::super::job::Observer;
use super::build::Builder;
use super::hidden::HiddenStates;
use super::online;
use super::plan::{Plan, Source, Split};
use super::signal::Signal;
use super::stored::Stored;
use super::top::{Shortlist, TopLogits};
use crate::cache::{self, ByteSize, CacheError, Opened, SignalFile};
use crate::data::Prepared;
use crate::interrupt::Interrupt;
use crate::kernels::KeptHead;
use crate::model::{self, ModelConfig, Transformer};
use crate::spec::{SignalKind, Stage, StageTeacher};
use crate::store::StoreError;
use crate::thread_log::carried;

/// One teacher of a run.
#[derive(Debug)]
pub(in super::super) struct Teacher {
    /// What the student is taught with; none where it learns from labels alone.
    pub(in super::super) training: Option<Signal>,
    /// What it is measured against; none without held-out data.
    pub(in super::super) validation: Option<Signal>,
    pub(in super::super) parameters: u64,
}

/// A teacher that is wanted.
pub(in super::super) struct Request<'a> {
    pub(in super::super) directory: &'a Path,
    pub(in super::super) config: &'a Stage,
    /// What the student is handed of it.
    pub(in super::super) settings: &'a StageTeacher,
    pub(in super::super) data: &'a Prepared,
    /// Whether the student learns from it, and is not only measured against it.
    pub(in super::super) is_taught: bool,
    /// Rows of the student's output head.
    pub(in super::super) student_vocab: usize,
    pub(in super::super) device: &'a Device,
    pub(in super::super) cache_dir: &'a Path,
}

impl Teacher {
    /// Makes the signal ready that was asked for. None where `stop` was set on the way.
    ///
    /// # Errors
    /// Where the teacher cannot be loaded or does not fit the student, or where a file that was asked
    /// for cannot be written; one that was only chosen gives way to running the teacher.
    pub(in super::super) fn new(
        request: &Request,
        observer: &mut dyn Observer,
        stop: &Interrupt,
    ) -> Result<Option<Self>, DistillError> {
        let config = ModelConfig::read(request.directory).map_err(DistillError::teacher)?;
        if config.vocab_size < request.student_vocab {
            return Err(DistillError::TeacherTooNarrow {
                teacher: config.vocab_size,
                student: request.student_vocab,
            });
        }
        let mut making = Making { request, config: &config, model: None, head: None, observer, stop };
        let settings = request.settings;
        let signals = match settings.signal {
            SignalKind::Online => making.online()?,
            SignalKind::Hidden => making.hidden(&making.hidden_plans()?)?,
            SignalKind::Auto => making.fitting(settings)?,
            SignalKind::Topk => making.topk(settings.top_k())?,
        };
        let parameters = config.parameters();
        Ok(signals.map(|[training, validation]| Self { training, validation, parameters }))
    }
}

/// Signals of training and validation data; none where the run was stopped.
type Signals = Option<[Option<Signal>; 2]>;

/// Signals being made.
struct Making<'a, 'o> {
    request: &'a Request<'a>,
    config: &'a ModelConfig,
    /// The teacher, once it had to be loaded.
    model: Option<Transformer>,
    head: Option<KeptHead>,
    observer: &'o mut dyn Observer,
    stop: &'o Interrupt,
}

impl<'a> Making<'a, '_> {
    /// Training and validation data, where their signal is needed.
    fn splits(&self) -> [Option<Split<'a>>; 2] {
        let Request { config, data, is_taught, .. } = *self.request;
        let (train, validation) = (config.data.train.as_slice(), config.data.validation.as_slice());
        [
            is_taught.then_some(Split { name: "training data", data: &data.train, files: train }),
            data.validation.as_ref().map(|data| Split { name: "held-out data", data, files: validation }),
        ]
    }

    fn source(&self) -> Result<Source<'a>, DistillError> {
        let Request { directory, config, cache_dir, .. } = *self.request;
        Source::new(directory, self.config, config.train.precision, cache_dir)
    }

    fn hidden_plans(&self) -> Result<[Option<Plan<'a>>; 2], DistillError> {
        let source = self.source()?;
        Ok(self.splits().map(|split| split.map(|split| source.hidden(split, self.request.cache_dir))))
    }

    fn online(&mut self) -> Result<Signals, DistillError> {
        let [training, validation] = self.splits().map(|split| split.is_some());
        if !training && !validation {
            return Ok(Some([None, None]));
        }
        let teacher = self.teacher()?.clone();
        Ok(Some(
            [training, validation]
                .map(|is_needed| is_needed.then(|| Signal::Online(Box::new(teacher.clone())))),
        ))
    }

    fn hidden(&mut self, plans: &[Option<Plan>; 2]) -> Result<Signals, DistillError> {
        let mut signals = [None, None];
        for (signal, plan) in signals.iter_mut().zip(plans) {
            let Some(plan) = plan else { continue };
            let Some(file) = self.file(plan, None)? else { return Ok(None) };
            *signal = Some(Signal::Hidden(HiddenStates::new(self.stored(file), self.head()?)));
        }
        Ok(Some(signals))
    }

    fn topk(&mut self, k: usize) -> Result<Signals, DistillError> {
        let Request { config, student_vocab, cache_dir, .. } = *self.request;
        if k > student_vocab {
            return Err(DistillError::TopTooLarge { k, vocabulary: student_vocab });
        }
        let source = self.source()?;
        let shortlist = Shortlist::new(k, student_vocab, config.train.precision.into());
        let mut signals = [None, None];
        for (signal, split) in signals.iter_mut().zip(self.splits()) {
            let Some(split) = split else { continue };
            let plan = source.topk(k, student_vocab, split, cache_dir);
            let Some(file) = self.file(&plan, Some(&shortlist))? else { return Ok(None) };
            if let Some(loss) = file.header().loss {
                tracing::info!(
                    "teacher signal: topk; {k} of {student_vocab} logits of the {} leave out {:.3} % of the \
                     mass, KL {:.2e} nats a token at temperature 1",
                    split.name,
                    100.0 * loss.tail_mass,
                    loss.divergence
                );
            }
            *signal = Some(Signal::Topk(Box::new(TopLogits::new(self.stored(file), shortlist.clone()))));
        }
        Ok(Some(signals))
    }

    fn stored(&self, file: SignalFile) -> Stored {
        let Request { directory, config, device, .. } = *self.request;
        Stored::new(file, directory.to_owned(), config.train.precision.into(), device.clone())
    }

    /// Hidden states where they fit on the disk and will be read, else none: the result is the same.
    fn fitting(&mut self, settings: &StageTeacher) -> Result<Signals, DistillError> {
        let plans = self.hidden_plans()?;
        let bytes = |plan: &Plan| plan.header.file_bytes().unwrap_or(u64::MAX);
        let total = plans.iter().flatten().map(bytes).fold(0, u64::saturating_add);
        let missing =
            plans.iter().flatten().filter(|plan| !plan.path.exists()).map(bytes).fold(0, u64::saturating_add);
        let free = cache::free(self.request.cache_dir).unwrap_or(u64::MAX);
        let budget = settings.cache_budget();
        let reason = if missing == 0 {
            None
        } else if total > budget {
            Some(format!("more than `teacher.cache_budget`, {}", ByteSize(budget)))
        } else if missing > free / 2 {
            Some(format!("more than half of what is free, {}", ByteSize(free)))
        } else if self.request.is_taught && !self.sees_all_data() {
            Some("and the run does not see all of the data".to_owned())
        } else {
            None
        };
        if let Some(reason) = reason {
            let size = ByteSize(total);
            tracing::info!("teacher signal: online; its hidden states would take {size}, {reason}");
            return self.online();
        }
        tracing::info!("teacher signal: hidden; {} on the disk, of {}", ByteSize(total), ByteSize(budget));
        match self.hidden(&plans) {
            Err(DistillError::Cache(error)) => {
                tracing::warn!("teacher signal: online after all; {error}");
                self.online()
            }
            signals => signals,
        }
    }

    /// Whether the run goes through the training data at least once: else computing all of the signal
    /// would be more work than it saves.
    fn sees_all_data(&self) -> bool {
        let train = &self.request.config.train;
        let Some(steps) = train.steps else { return true };
        let seen = steps.saturating_mul(train.batch_size).saturating_mul(train.accumulation);
        seen >= self.request.data.train.len()
    }

    /// The file of a plan, written first where it has to be. None where the run was stopped.
    fn file(
        &mut self,
        plan: &Plan,
        shortlist: Option<&Shortlist>,
    ) -> Result<Option<SignalFile>, DistillError> {
        // What was just written is there; if not, something removes it, and will again.
        for _ in 0..3 {
            let mut waiting = || self.observer.waiting("the teacher's signal, which another run writes");
            match cache::open(&plan.path, &plan.header, &plan.rows, self.stop, &mut waiting)? {
                Opened::Ready(file) => return Ok(Some(*file)),
                Opened::Stopped => return Ok(None),
                Opened::Missing(lock) => {
                    self.teacher()?;
                    let Some(teacher) = &self.model else { break };
                    let Request { config, device, data, .. } = *self.request;
                    let (observer, stop) = (&mut *self.observer, self.stop);
                    let (pad_id, batch_size) = (data.pad_id, config.train.batch_size);
                    let mut builder =
                        Builder { teacher, device, pad_id, batch_size, shortlist, observer, stop };
                    match on_all_processors(|| builder.build(plan, lock)) {
                        Ok(true) => {}
                        Ok(false) => return Ok(None),
                        // This process stood still for long, and another one writes the file by now.
                        Err(DistillError::Cache(CacheError::Store(error @ StoreError::LeaseLost { .. }))) => {
                            tracing::warn!("{error}");
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        let source = std::io::ErrorKind::NotFound.into();
        Err(CacheError::Io { action: "read back", path: plan.path.clone(), source }.into())
    }

    fn teacher(&mut self) -> Result<&Transformer, DistillError> {
        match &mut self.model {
            Some(model) => Ok(model),
            none => {
                let Request { directory, config, device, .. } = *self.request;
                Ok(none.insert(online::load(directory, config.train.precision.into(), device)?))
            }
        }
    }

    /// The output head: the teacher's where it is loaded, else read alone. Both splits share what it is
    /// packed into.
    fn head(&mut self) -> Result<KeptHead, DistillError> {
        if let Some(head) = &self.head {
            return Ok(head.clone());
        }
        let Request { directory, config, device, student_vocab, .. } = *self.request;
        let weight = match &self.model {
            Some(model) => model.head(),
            None => model::load_head(directory, device).map_err(DistillError::teacher)?.0,
        };
        let packed = KeptHead::new(weight, student_vocab, config.train.precision.into());
        Ok(self.head.insert(packed).clone())
    }
}

/// Runs `work` on all processors: the workers that have the others wait for what it makes. The number of
/// threads changes no bit of it. What it computes on a GPU stays on the stream of this thread, whose memory
/// it takes, and what it says goes to the same log.
fn on_all_processors<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if rayon::current_num_threads() < processors
        && let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(processors).build()
    {
        let stream = StreamId::current();
        return pool.install(carried(|| stream.executes(work)));
    }
    work()
}
