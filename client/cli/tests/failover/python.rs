//! Python servers that fail, and that replace one of ours: in float32, without loss.

use std::thread;

use block_testing::Maker::Petals;

use crate::case::{Case, Fault, Place};
use crate::other_cuts::only;
use crate::stage::{CUTS, Cast, Stage};

/// A case with its servers.
struct Scene {
    name: &'static str,
    used: [Cast; 3],
    spare: Cast,
    fault: Fault,
    place: Place,
}

const SCENES: [Scene; 4] = [
    Scene {
        name: "python-falls-silent",
        used: [CUTS[0], (Petals, (3, 6)), CUTS[2]],
        spare: CUTS[1],
        fault: Fault::Stop,
        place: Place::Middle,
    },
    Scene {
        name: "python-is-killed",
        used: [CUTS[0], CUTS[1], (Petals, (6, 8))],
        spare: CUTS[2],
        fault: Fault::Kill,
        place: Place::Last,
    },
    Scene {
        name: "python-takes-the-middle",
        used: CUTS,
        spare: (Petals, (3, 6)),
        fault: Fault::Kill,
        place: Place::Middle,
    },
    Scene {
        name: "python-takes-the-first",
        used: CUTS,
        spare: (Petals, (0, 3)),
        fault: Fault::Stop,
        place: Place::First,
    },
];

#[test]
fn python_servers_fail_and_replace() {
    let _alone = crate::alone();
    // Python imports for seconds: all scenes start side by side.
    let starting = SCENES.map(|scene| {
        thread::spawn(move || {
            let stage = Stage::start(scene.name, "f32", &scene.used, &[scene.spare]);
            (scene, stage)
        })
    });
    for starting in starting {
        let (scene, mut stage) = starting.join().expect("the servers came online");
        let disturbed = only(stage.play(&Case {
            fault: scene.fault,
            place: scene.place,
            token: 64,
            sessions: 1,
            codec: "none",
            dtype: "f32",
            push: true,
        }));
        println!(
            "failover: {}: stall {} ms",
            scene.name,
            disturbed.stall().as_millis()
        );
    }
}
