//! Scripted faults, from the driver through the readings to what they call for.

use super::support::{LIMIT, alone, gpus, write};
use agent::{
    driver::gpu::Gpus,
    machine::health::{Action, Health, HealthInput, HealthOutput, Reading, Symptom},
};
use domain::Millis;
use fake_nvml::state::{Gpu, Machine};
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    time::{Duration, Instant},
};

/// What is done to a GPU, and what is to be found then.
type Script = (fn(&mut Gpu), Symptom, Action);

#[test]
fn each_scripted_fault_is_found_with_its_action() {
    alone("health::each_scripted_fault_is_found_with_its_action", |state| {
        let healthy = Machine::profile("h100x2", "a").unwrap();
        let gpus = {
            write(state, &healthy);
            gpus()
        };
        let scripts: [Script; 12] = [
            (|gpu| gpu.ecc_corrected_volatile = 3, Symptom::EccCorrected, Action::Ignore),
            (|gpu| gpu.ecc_volatile = 1, Symptom::EccUncorrected, Action::Drain),
            (|gpu| gpu.ecc_aggregate = 1, Symptom::EccUncorrected, Action::Drain),
            (|gpu| gpu.row_remaps.pending = true, Symptom::RowRemapPending, Action::Drain),
            (|gpu| gpu.row_remaps.failed = true, Symptom::RowRemapFailed, Action::Quarantine),
            (|gpu| gpu.temperature_c = 91, Symptom::Hot, Action::Watch),
            (|gpu| gpu.throttle_reasons = 0x40, Symptom::ThermalSlowdown, Action::Watch),
            (|gpu| gpu.throttle_reasons = 0x20, Symptom::ThermalSlowdown, Action::Watch),
            (|gpu| gpu.throttle_reasons = 0x88, Symptom::PowerBrake, Action::Watch),
            (|gpu| gpu.throttle_reasons = 0x08, Symptom::HwSlowdown, Action::Watch),
            (|gpu| gpu.nvlinks[2].active = false, Symptom::NvLinkDown, Action::Drain),
            (|gpu| gpu.nvlinks[2].crc_errors = 4, Symptom::NvLinkErrors, Action::Watch),
        ];
        let lost: Script = (|gpu| gpu.lost = true, Symptom::Lost, Action::Quarantine);
        for (script, symptom, action) in scripts.into_iter().chain([lost]) {
            let mut health = Health::default();
            let mut read = || {
                let input = HealthInput::Read { uuid: "g".into(), reading: gpus.gauge(0) };
                health.on(input, Millis(1)).into_iter().next()
            };
            write(state, &healthy);
            assert_eq!(read(), None, "before {symptom}");
            // A cap of power, settings and idleness are no symptoms.
            let mut machine = healthy.clone();
            machine.gpus[0].throttle_reasons = 0x107;
            write(state, &machine);
            assert_eq!(read(), None, "before {symptom}");
            let mut machine = healthy.clone();
            script(&mut machine.gpus[0]);
            write(state, &machine);
            let found = HealthOutput::Found { uuid: "g".into(), symptom, action, times: 1 };
            assert_eq!(read(), Some(found));
            assert!(matches!(gpus.gauge(1), Reading::Answered(_)), "the other GPU is well");
        }
        let mut machine = healthy.clone();
        machine.gpus[0].hang_ms = u64::MAX;
        write(state, &machine);
        let began = Instant::now();
        let hung: Vec<_> = (0..3).map(|_| gpus.gauge(0)).collect();
        assert_eq!(hung, [Reading::Hung; 3]);
        assert!(began.elapsed() < 2 * LIMIT, "{:?}", began.elapsed());
    });
}

#[test]
fn xids_are_told_as_they_come_also_by_a_gpu_that_falls_off_the_bus() {
    alone("health::xids_are_told_as_they_come_also_by_a_gpu_that_falls_off_the_bus", |state| {
        let mut machine = Machine::profile("h100x2", "a").unwrap();
        write(state, &machine);
        let (gpus, go_on) = (gpus(), AtomicBool::new(true));
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                gpus.xids(1, &|| go_on.load(Ordering::Relaxed), &|xid| tell.send(xid).unwrap());
            });
            // Xids count from the registration on, which has no sign to the outside.
            std::thread::sleep(Duration::from_millis(200));
            machine.gpus[0].xids = vec![13];
            machine.gpus[1].xids = vec![94];
            write(state, &machine);
            assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok(94));
            // A wait that fails once is no reason to be deaf from then on.
            machine.gpus[1].events_fail = true;
            write(state, &machine);
            std::thread::sleep(Duration::from_millis(700));
            machine.gpus[1].events_fail = false;
            write(state, &machine);
            std::thread::sleep(LIMIT + Duration::from_secs(1));
            machine.gpus[1].xids.push(79);
            machine.gpus[1].lost = true;
            let began = Instant::now();
            write(state, &machine);
            assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok(79));
            eprintln!("Xid 79 was heard after {:?}", began.elapsed());
            go_on.store(false, Ordering::Relaxed);
        });
    });
}
