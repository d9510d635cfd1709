//! Logits of a model directory: `cargo run --release --example logits -- MODEL '[[1, 2, 3], [4, 5, 6]]'`.
//!
//! Prints `[batch, sequence, vocab]` as JSON. With a third argument, the model is also written there as
//! kdx writes it. Rows must be of one length.

use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use kdx::model;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, ids, rest @ ..] = arguments.as_slice() else {
        return Err("usage: logits MODEL IDS [COPY]".into());
    };
    let device = Device::flex();
    let (model, config, report) = model::load(Path::new(directory), &device)?;
    eprintln!("{}", report.in_words());
    let rows: Vec<Vec<i64>> = serde_json::from_str(ids)?;
    let sequence = rows.first().map_or(0, Vec::len);
    if sequence == 0 || rows.iter().any(|row| row.len() != sequence) {
        return Err("IDS must be rows of one length".into());
    }
    if rows.iter().flatten().any(|id| usize::try_from(*id).map_or(true, |id| id >= config.vocab_size)) {
        return Err(format!("ids must be below {}", config.vocab_size).into());
    }
    let shape = [rows.len(), sequence];
    let logits = model.logits(Tensor::from_data(TensorData::new(rows.concat(), shape), &device));
    let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
    let rows: Vec<Vec<&[f32]>> = values
        .chunks(sequence * config.vocab_size)
        .map(|row| row.chunks(config.vocab_size).collect())
        .collect();
    println!("{}", serde_json::to_string(&rows)?);
    if let [copy, ..] = rest {
        model::save(&model, &config, None, Path::new(copy))?;
    }
    Ok(())
}
