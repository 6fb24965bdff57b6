//! Classifies a picture: `cargo run --release --example classify -- model.hanc picture.png`
//!
//! The model takes f32[N, 3, height, width], red, green and blue from −1 to 1, and makes one score a class.
use hanc_runtime::{Model, Options, Session, View};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [model, picture] = [1, 2].map(|i| std::env::args().nth(i).expect("two arguments: model.hanc picture.png"));
    let model = Model::open(model)?;
    let input = &model.plan().inputs[0];
    let sizes: Vec<usize> = model.plan().slots[input.slot].shape.iter().map(|extent| extent.factor).collect();
    let (height, width) = (sizes[2], sizes[3]);

    let picture = image::open(picture)?.to_rgb8();
    let picture = image::imageops::resize(&picture, width as u32, height as u32, image::imageops::FilterType::Triangle);
    let mut pixels = vec![0.0; 3 * height * width];
    for (at, pixel) in picture.pixels().enumerate() {
        (0..3).for_each(|c| pixels[c * height * width + at] = f32::from(pixel[c]) / 127.5 - 1.0);
    }

    let mut session = Session::new(&model, Options::default())?;
    let outputs = session.run(&[(&input.name, View::f32(&[1, 3, height, width], &pixels))])?;
    let scores = outputs.iter().next().and_then(|output| output.f32()).ok_or("the model makes no scores")?;
    let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).ok_or("there are no classes")?;
    println!("class {best}, score {:.3}", scores[best]);
    Ok(())
}
