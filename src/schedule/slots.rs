//! How many runs a sweep places at once, and where.

use std::collections::HashMap;

use super::device::{DeviceName, Memory, look_up};
use super::estimate::Estimate;

/// A device, and what is free there.
#[derive(Debug, Clone)]
pub struct Room {
    /// The device.
    pub device: DeviceName,
    /// Bytes that are free for runs; none where nobody says.
    pub free: Option<u64>,
}

impl Room {
    /// As the device is now.
    pub fn of(device: &DeviceName) -> Self {
        let free = look_up(device).and_then(|memory: Memory| memory.free);
        Self {
            device: device.clone(),
            free: free.map(|free| if device.is_cpu() { free } else { spare(free) }),
        }
    }
}

/// What of a GPU's free memory is given to runs: estimates are rough, and a full GPU ends the run that asks
/// last.
fn spare(free: u64) -> u64 {
    free - free / 20
}

/// The places of a sweep's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// The device of each slot.
    pub devices: Vec<DeviceName>,
    /// Bytes that runs may take together, on devices where memory is what limits them.
    pub memory: HashMap<DeviceName, u64>,
}

impl Slots {
    /// Slots on `rooms` for runs of these estimates: `fixed` on each device, or as many as there are
    /// processors for, `threads` in all and `threads_per_run` for each (0 for any number); on a GPU only as
    /// many as fit into its memory, and one where that is not known.
    pub fn new(
        rooms: &[Room],
        fixed: Option<usize>,
        threads: usize,
        threads_per_run: usize,
        runs: &[&Estimate],
    ) -> Self {
        let processors = (threads / threads_per_run.max(1)).max(1);
        let gpus = rooms.iter().filter(|room| !room.device.is_cpu()).count();
        let on = |room: &Room| match (fixed, room.free) {
            (Some(fixed), _) => fixed,
            (None, _) if room.device.is_cpu() => processors,
            (None, None) => 1,
            // Every worker drives its GPU from a processor of its own.
            (None, Some(free)) => fitting(runs, free).clamp(1, (processors / gpus).max(1)),
        };
        let counts: Vec<usize> = rooms.iter().map(|room| on(room).min(runs.len())).collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        // In turn, so that a sweep of few runs uses all devices.
        let rounds = (0..most).flat_map(|round| {
            rooms.iter().zip(&counts).filter(move |(_, count)| round < **count).map(|(room, _)| &room.device)
        });
        let memory = rooms.iter().filter(|_| fixed.is_none());
        Self {
            devices: rounds.take(runs.len()).cloned().collect(),
            memory: memory.filter_map(|room| Some((room.device.clone(), room.free?))).collect(),
        }
    }

    /// The devices and the runs that each takes at once, as `4 on cuda:0, 3 on cuda:1`.
    pub fn in_words(&self) -> String {
        let mut counts: Vec<(&DeviceName, usize)> = Vec::new();
        for device in &self.devices {
            match counts.iter_mut().find(|(name, _)| *name == device) {
                Some((_, count)) => *count += 1,
                None => counts.push((device, 1)),
            }
        }
        let words: Vec<String> = counts.iter().map(|(name, count)| format!("{count} on {name}")).collect();
        words.join(", ")
    }
}

/// How many of the runs fit into a GPU's memory, the smallest ones first: no more are ever beside each other.
fn fitting(runs: &[&Estimate], free: u64) -> usize {
    let mut sizes: Vec<u64> = runs.iter().map(|run| run.gpu_memory).collect();
    sizes.sort_unstable();
    let mut taken = 0u64;
    sizes
        .iter()
        .take_while(|&&size| {
            taken = taken.saturating_add(size);
            taken <= free
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Interface;

    fn gpu(number: usize, free: Option<u64>) -> Room {
        Room { device: DeviceName::Gpu(Interface::Cuda, number), free }
    }

    fn run(gpu_memory: u64) -> Estimate {
        Estimate {
            parameters: 1,
            teacher_parameters: None,
            steps: 1,
            tokens: 1,
            memory: 1,
            gpu_memory,
            flops: 1.0,
        }
    }

    fn slots(rooms: &[Room], fixed: Option<usize>, threads: usize, sizes: &[u64]) -> Slots {
        let runs: Vec<Estimate> = sizes.iter().map(|&size| run(size)).collect();
        Slots::new(rooms, fixed, threads, 0, &runs.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_gpu_takes_the_runs_that_fit_into_its_memory() {
        assert_eq!(slots(&[gpu(0, Some(100))], None, 16, &[30; 8]).in_words(), "3 on cuda:0");
        assert_eq!(slots(&[gpu(0, Some(100))], None, 16, &[90, 20, 30, 40, 90]).in_words(), "3 on cuda:0");
        assert_eq!(
            slots(&[gpu(0, Some(10))], None, 16, &[30; 8]).in_words(),
            "1 on cuda:0",
            "it may fit after all"
        );
        assert_eq!(
            slots(&[gpu(0, Some(1000))], None, 4, &[30; 8]).in_words(),
            "4 on cuda:0",
            "processors drive it"
        );
        assert_eq!(slots(&[gpu(0, None)], None, 16, &[30; 8]).in_words(), "1 on cuda:0");
    }

    #[test]
    fn runs_are_spread_over_all_gpus() {
        let two = [gpu(0, Some(100)), gpu(1, Some(40))];
        let spread = slots(&two, None, 16, &[30; 8]);
        assert_eq!(spread.in_words(), "3 on cuda:0, 1 on cuda:1");
        assert_eq!(spread.devices[..2], [two[0].device.clone(), two[1].device.clone()]);
        assert_eq!(spread.memory[&two[1].device], 40);
        assert_eq!(slots(&two, None, 16, &[30; 2]).in_words(), "1 on cuda:0, 1 on cuda:1");
    }

    #[test]
    fn a_number_of_the_user_holds_and_memory_is_then_their_matter() {
        let fixed = slots(&[gpu(0, Some(100)), gpu(1, None)], Some(2), 1, &[90; 8]);
        assert_eq!(fixed.in_words(), "2 on cuda:0, 2 on cuda:1");
        assert_eq!(fixed.memory, HashMap::new());
    }

    #[test]
    fn processors_take_a_run_each() {
        let cpu = Room { device: DeviceName::Cpu, free: Some(5) };
        let all = slots(std::slice::from_ref(&cpu), None, 4, &[30; 8]);
        assert_eq!((all.in_words().as_str(), all.memory[&DeviceName::Cpu]), ("4 on cpu", 5));
        let runs = [run(1), run(1), run(1)];
        let wide = Slots::new(&[cpu], None, 4, 2, &runs.iter().collect::<Vec<_>>());
        assert_eq!(wide.in_words(), "2 on cpu");
    }
}
