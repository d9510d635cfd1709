//! From ready runs to a job array.

use std::path::Path;

use super::client::{Client, CommandError};
use super::error::SlurmError;
use super::options::Options;
use super::record::{Submission, Submissions, SubmittedTask, new_name};
use super::script::Script;
use super::task::steps_of;
use crate::schedule::job::Job;

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// Slurm has it under a number.
    Yes(Submission),
    /// Nobody knows: it is looked for in the queue, by its name. In words, why.
    Unknown(Submission, String),
    /// Slurm takes no more jobs now; in words, why.
    Later(String),
}

/// Submits tasks as one job array.
///
/// # Errors
/// Where Slurm will not take them later either, or the store cannot be written.
pub fn submit(
    tasks: Vec<SubmittedTask>,
    options: &Options<'_>,
    submissions: &mut Submissions,
    client: &Client,
) -> Result<Submitted, SlurmError> {
    let array = array(tasks.len(), options);
    let submission = Submission { name: new_name(options.experiment), job: None, tasks };
    let name = submission.name.clone();
    let (tasks, output) = (submissions.tasks_path(&name), submissions.output_path(&name));
    let script = script(&name, options, &array, (&tasks, &output)).render()?;
    submissions.add(submission.clone(), &script, &options.store)?;
    match client.submit(&submissions.script_path(&name), &name, &array) {
        Ok(job) => {
            submissions.set_job(&name, job)?;
            Ok(Submitted::Yes(Submission { job: Some(job), ..submission }))
        }
        Err(CommandError::NoAnswer(reason)) => Ok(Submitted::Unknown(submission, reason)),
        Err(CommandError::Limit(reason)) => {
            submissions.remove(&name)?;
            Ok(Submitted::Later(reason))
        }
        Err(error @ (CommandError::Refused(_) | CommandError::Missing(_))) => {
            submissions.remove(&name)?;
            Err(error.into())
        }
    }
}

/// The batch script that would be submitted for runs, and their task file.
///
/// # Errors
/// Where the template cannot be used.
pub fn preview(jobs: &[&Job], options: &Options<'_>) -> Result<(String, String), SlurmError> {
    let submitted: Vec<SubmittedTask> = jobs.iter().map(|job| task_for(job, options)).collect();
    let name = format!("kdx-{}-NAME", options.experiment);
    let directory = options.store.slurm_dir(options.experiment);
    let (tasks, output) = (directory.join(format!("{name}.tasks")), directory.join(format!("{name}_%a.out")));
    let array = array(jobs.len(), options);
    let script = script(&name, options, &array, (&tasks, &output)).render()?;
    Ok((script, super::record::task_file(&submitted, &options.store)))
}

/// The task of a run, with where the run stands now.
pub fn task_for(job: &Job, options: &Options<'_>) -> SubmittedTask {
    let dir = job.dir(&options.store);
    SubmittedTask {
        run: job.id().clone(),
        attempts_before: dir.status().ok().flatten().map_or(0, |status| status.attempt),
        steps_before: steps_of(&dir),
    }
}

fn array(tasks: usize, options: &Options<'_>) -> String {
    match options.slurm.max_tasks.filter(|most| *most < tasks) {
        Some(most) => format!("1-{tasks}%{most}"),
        None => format!("1-{tasks}"),
    }
}

fn script<'a>(
    name: &'a str,
    options: &'a Options<'_>,
    array: &str,
    (tasks, output): (&'a Path, &'a Path),
) -> Script<'a> {
    Script {
        name,
        experiment: options.experiment,
        array: array.to_owned(),
        tasks,
        output,
        store: options.store.root(),
        program: &options.program,
        device: options.device.to_string(),
        stall_timeout: options.stall_timeout.map_or(0.0, |time| time.as_secs_f64()),
        slurm: options.slurm,
    }
}
