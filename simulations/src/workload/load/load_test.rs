//! Every format, whole and broken.

use super::*;
use std::io::Write;

fn parse(name: &str, format: Format, bytes: &[u8]) -> String {
    let folder = std::env::temp_dir().join(format!("assay-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    match load(&path, format) {
        Ok(trace) => {
            let jobs = trace.jobs.iter().map(|job| {
                format!(
                    "{} {} {} {:.3} {}{}",
                    job.id, job.submit_s, job.gpus, job.service_s, job.overhead_s, job.tenant
                )
            });
            format!("{} skipped {}", jobs.collect::<Vec<_>>().join("; "), trace.skipped)
        }
        Err(error) => error.to_string().split("/").last().unwrap().to_owned(),
    }
}

#[test]
fn csv_with_and_without_a_tenant_in_any_order_of_columns() {
    let text = "job_id,submit_s,gpus,service_s\na,5,2,10\nb,0,1,1.5\nc,1,0,4\n";
    assert_eq!(
        parse("a.csv", Format::Csv, text.as_bytes()),
        "b 0 1 1.500 10; a 5 2 10.000 10 skipped 1"
    );
    let text = "tenant,service_s,gpus,submit_s,job_id\nred,10,2,5,a\n";
    assert_eq!(parse("b.csv", Format::Philly, text.as_bytes()), "a 5 2 10.000 10red skipped 0");
    let text = "job_id,submit_s,gpus,service_s\na,5,2,ten\n";
    assert!(parse("c.csv", Format::Csv, text.as_bytes()).starts_with("c.csv:2: `service_s`"));
    let text = "job_id,submit_s,gpus,service_s\n";
    assert!(parse("d.csv", Format::Csv, text.as_bytes()).contains("no job in it can be run"));
}

#[test]
fn a_file_of_usage_trace_says_for_how_long_its_jobs_asked() {
    let text = "job_id,submit_s,gpus,service_s,tenant,asked_s,user,begun_s,ended_s\n\
                j1,0.000,2,1.500,ml,60.000,\"ada, the first\",0.250,1.750\n\
                j2[7],0.500,1,2.000,ml,,bob,1.250,3.250\n";
    let path = std::env::temp_dir().join(format!("assay-trace-{}.csv", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let trace = load(&path, Format::Csv).unwrap();
    let asked: Vec<_> = trace.jobs.iter().map(|job| (job.id.as_str(), job.asked_s)).collect();
    assert_eq!(asked, [("j1", Some(60.0)), ("j2[7]", None)]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn gzip_is_told_by_its_bytes() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(b"job_id,submit_s,gpus,service_s\na,5,2,10\n").unwrap();
    let bytes = gz.finish().unwrap();
    assert_eq!(parse("e.csv", Format::Csv, &bytes), "a 5 2 10.000 10 skipped 0");
    assert!(parse("f.gz", Format::Csv, &bytes[..bytes.len() / 2]).contains("cannot be read"));
}

#[test]
fn muri_raw_normalised_and_of_tiresias() {
    let raw =
        "job_id,num_gpu,submit_time,iterations,model_name,iteration_time\n7,4,1500,1000,a2c,490\n";
    assert_eq!(parse("g.csv", Format::Muri, raw.as_bytes()), "7 1.5 4 497.350 39 skipped 0");
    let norm = "job_id,submit_s,gpus,service_s,model\n7,1.5,4,497.35,new\n";
    assert_eq!(parse("h.csv", Format::Muri, norm.as_bytes()), "7 1.5 4 497.350 10 skipped 0");
    let las = "job_id,num_gpu,submit_time,iterations,model_name,duration,interval\n0,1,30,606,vgg19,164,30\n";
    assert_eq!(parse("i.csv", Format::Muri, las.as_bytes()), "0 30 1 164.000 7 skipped 0");
}

#[test]
fn gavel_lines() {
    let text = "A3C\tpython\t-s\t0\t1000\t5.0\t1\nA3C\tpython\t-s\t0\t0\t5.0\t1\n";
    assert!(parse("j.trace", Format::Gavel, text.as_bytes()).ends_with("skipped 1"));
    assert!(parse("k.trace", Format::Gavel, b"A3C\tx\n").starts_with("k.trace:1: 2 cells"));
    let text = "New\tpython\t-s\t0\t1000\t5.0\t1\n";
    assert!(parse("l.trace", Format::Gavel, text.as_bytes()).contains("job type `New`"));
}

#[test]
fn swf_lines() {
    let text = "; Computer: x\n1 0 5 60 4 -1 -1 8 100 -1 1 3 1 -1 1 -1 -1 -1\n\
                2 9 5 -1 4 -1 -1 8 100 -1 0 3 1 -1 1 -1 -1 -1\n";
    assert_eq!(parse("m.swf", Format::Swf, text.as_bytes()), "1 0 8 60.000 10user3 skipped 1");
    assert!(parse("n.swf", Format::Swf, b"1 2 x\n").starts_with("n.swf:1: `x`"));
    assert!(parse("o.swf", Format::Swf, b"1 2 3\n").starts_with("o.swf:1: 3 numbers"));
}
