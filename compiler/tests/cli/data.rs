//! `hanc data`.

use std::io::Cursor;

use crate::bench::Bench;

fn png(colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(8, 8, image::Rgb(colour)).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn check_says_what_is_in_a_set() {
    let bench = Bench::new();
    bench.file("table.csv", "size,weight,kind\n1,2.5,cat\n2,3.5,dog\n3,4.5,cat\n");
    let (exit, json) = bench.json(&["data", "check", "table.csv"]);
    assert_eq!((exit, &json["format"], &json["shape"][0]), (0, &"csv".into(), &2.into()));
    assert_eq!((&json["classes"][1], &json["splits"][0]["class_counts"][0]), (&"dog".into(), &2.into()));
    assert_eq!(json["splits"][0]["values"][1]["mean"], 3.5);
    let text = bench.run(&["data", "check", "table.csv", "--target", "weight,size", "--header", "true"]);
    assert_eq!(text.status.code(), Some(3), "the kinds are no numbers");
    let output = bench.run(&["data", "check", "synth:checkerboard", "--fractions", "0.5,0.25,0.25"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(["3 281", "1 640", "validation"].iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn check_lists_every_broken_picture() {
    let bench = Bench::new();
    ["cat", "dog"].iter().for_each(|class| std::fs::create_dir(bench.path(class)).unwrap());
    bench.file("cat/1.png", png([9, 9, 9]));
    bench.file("cat/2.png", &png([9, 9, 9])[..40]);
    bench.file("dog/3.jpg", "no picture");
    let (exit, json) = bench.json(&["data", "check", "."]);
    let broken: Vec<_> = json["broken"].as_array().unwrap().iter().map(|b| b["name"].to_string()).collect();
    assert_eq!((exit, broken.len()), (4, 2));
    assert!(broken[0].contains("2.png") && broken[1].contains("3.jpg"), "{broken:?}");
    let output = bench.run(&["data", "check", "."]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(4) && said.contains("2 of 3 samples cannot be read"), "{said}");
}

#[test]
fn a_preview_is_a_picture() {
    let bench = Bench::new();
    let set = "synth:shapes,size=16,count=30";
    let (exit, json) = bench.json(&["data", "preview", set, "-o", "plain.png", "--samples", "4"]);
    assert_eq!((exit, &json["samples"], &json["split"]), (0, &4.into(), &"train".into()));
    let changes = ["--crop", "2", "--flip", "--rand-augment", "2,9", "--cutout", "4", "--split", "test"];
    let args = [&["data", "preview", set, "-o", "changed.png", "--samples", "4"][..], &changes].concat();
    assert_eq!(bench.json(&args).0, 0);
    let open = |name: &str| image::open(bench.path(name)).unwrap().into_rgb8();
    let (plain, changed) = (open("plain.png"), open("changed.png"));
    assert_eq!(plain.dimensions(), changed.dimensions());
    assert_ne!(plain, changed);
    let first = std::fs::read(bench.path("changed.png")).unwrap();
    bench.run(&args);
    assert_eq!(std::fs::read(bench.path("changed.png")).unwrap(), first, "it depends on the seed alone");
}

#[test]
fn data_that_cannot_be_used_says_why() {
    let bench = Bench::new();
    bench.file("words.csv", "1,2\n3,four\n5,6\n");
    bench.file("cut.npz", "PK\x03\x04");
    bench.file("train-images-idx3-ubyte", [0, 0, 8, 3, 0]);
    bench.fails(&["data", "check", "no-such-file"], 3, "E103", &["no-such-file"]);
    bench.fails(&["data", "check", "cut.npz"], 3, "E106", &["cut.npz"]);
    bench.fails(&["data", "check", "words.csv", "--format", "xls"], 2, "E101", &["idx, cifar10", "csv"]);
    bench.file("notes.md", "text");
    bench.fails(&["data", "check", "notes.md"], 3, "E109", &["notes.md", "csv"]);
    bench.fails(&["data", "check", "synth:chess"], 2, "E110", &["synth:chess", "checkerboard"]);
    bench.fails(&["data", "check", "synth:shapes,size=1"], 2, "E110", &["size=1"]);
    bench.fails(&["data", "check", "words.csv"], 3, "E111", &["words.csv", "line 2, column 2"]);
    bench.fails(&["data", "check", "train-images-idx3-ubyte"], 3, "E111", &["header"]);
    bench.fails(&["data", "check", "synth:shapes", "--standardise"], 2, "E110", &["standardise"]);
    bench.fails(&["data", "preview", "synth:sine", "-o", "x.png"], 3, "E112", &["synth:sine"]);
    bench.fails(
        &["data", "preview", "synth:shapes", "-o", "x.png", "--split", "validation"],
        2,
        "E101",
        &["train, test"],
    );
    bench.fails(&["data", "preview", "synth:shapes", "-o", "no/x.png"], 2, "E104", &["no/x.png"]);
    bench.fails(&["data", "preview", "synth:shapes", "-o", "x.png", "--rand-augment", "2,31"], 2, "E110", &["31"]);
}
