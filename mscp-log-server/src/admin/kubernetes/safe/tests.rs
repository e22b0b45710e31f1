#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

fn pods(name: &str, up: u32, all: u32) -> Vec<Pod> {
    let pod = |number| Pod {
        node: None,
        pod: format!("{name}-{number}"),
        up: number < up,
        status: String::new(),
    };
    (0..all).map(pod).collect()
}

fn held(nodes: u32) -> Held {
    Held {
        copies: 2,
        shards: (0..nodes)
            .map(|number| (format!("d-{number}"), 7))
            .collect(),
        ..Held::default()
    }
}

fn voting(voters: &[&str]) -> Held {
    Held {
        voters: voters.iter().map(|it| (*it).to_owned()).collect(),
        ..Held::default()
    }
}

fn needs(held: Held) -> Needs {
    Needs {
        partitions: Some(12),
        store: Ok(held),
    }
}

/// Every pod up.
fn data_to(to: u32, held: Held) -> Result<Vec<String>, String> {
    judge(
        Part::StoreData,
        "d",
        (3, to),
        &pods("d", 3, 3),
        &needs(held),
    )
}

fn masters_to(from: u32, to: u32, held: Held) -> Result<Vec<String>, String> {
    let all = pods("m", from, from);
    judge(Part::StoreMaster, "m", (from, to), &all, &needs(held))
}

#[track_caller]
fn assert_says(refused: &Result<Vec<String>, String>, parts: &[&str]) {
    let reason = refused.as_ref().unwrap_err();
    for part in parts {
        assert!(reason.contains(part), "{part:?} is not in: {reason}");
    }
}

#[test]
fn what_the_rest_depends_on_keeps_one() {
    let needs = needs(Held::default());
    for part in [
        Part::Api,
        Part::Parser,
        Part::Shipper,
        Part::Rotator,
        Part::StoreClient,
        Part::StoreData,
        Part::StoreMaster,
    ] {
        let needs = match part {
            Part::StoreMaster => &Needs {
                store: Ok(voting(&["m-0"])),
                ..needs.clone()
            },
            _ => &needs,
        };
        let refused = judge(part, "x", (2, 0), &[], needs);
        assert_says(&refused, &["at least 1"]);
        if !matches!(part, Part::StoreData | Part::StoreMaster) {
            assert_eq!(judge(part, "x", (2, 1), &[], needs), Ok(vec![]), "{part:?}");
        }
    }
    assert!(judge(Part::Api, "x", (2, 1_000), &[], &needs).is_ok());
    assert!(judge(Part::Api, "x", (2, 1_001), &[], &needs).is_err());
}

#[test]
fn brokers_and_agents_are_not_scaled() {
    let needs = needs(Held::default());
    assert_says(
        &judge(Part::Kafka, "k", (3, 4), &[], &needs),
        &["kafka-reassign-partitions"],
    );
    assert_says(
        &judge(Part::Agent, "a", (3, 4), &[], &needs),
        &["each machine"],
    );
}

#[test]
fn more_shippers_than_partitions_are_told_of_and_made() {
    let told = |to| judge(Part::Shipper, "s", (2, to), &[], &needs(Held::default())).unwrap();
    assert_eq!(told(12), Vec::<String>::new());
    assert!(told(13)[0].contains("12 of 13 have work"));
}

#[test]
fn a_data_node_goes_only_when_it_holds_nothing() {
    assert_says(
        &data_to(2, held(3)),
        &["shards are on d-2 (7)", "exclude._name\": \"d-2\""],
    );
    assert_eq!(data_to(2, held(2)), Ok(vec![]));
    let renamed = Held {
        shards: BTreeMap::from([("node-a".to_owned(), 3)]),
        ..held(2)
    };
    assert_says(&data_to(2, renamed), &["shards are on node-a (3)"]);
}

#[test]
fn data_nodes_are_no_fewer_than_the_copies_of_a_shard() {
    assert_says(
        &data_to(1, held(1)),
        &["at least 2", "number_of_replicas is 1"],
    );
    let single = Held {
        copies: 1,
        ..held(1)
    };
    assert_eq!(data_to(1, single), Ok(vec![]));
}

#[test]
fn no_data_node_goes_while_a_shard_is_nowhere_or_a_node_is_away() {
    let red = Held {
        unassigned: 4,
        ..held(2)
    };
    assert_says(&data_to(2, red), &["4 shards are on no node"]);
    let away = judge(
        Part::StoreData,
        "d",
        (3, 2),
        &pods("d", 1, 3),
        &needs(held(2)),
    );
    assert_says(&away, &["d-1 would stay and is not up"]);
    // That which goes may be the one that never came up.
    let away = judge(
        Part::StoreData,
        "d",
        (3, 2),
        &pods("d", 2, 3),
        &needs(held(2)),
    );
    assert_eq!(away, Ok(vec![]));
}

#[test]
fn what_is_not_known_is_not_taken_away() {
    let unknown = Needs {
        partitions: None,
        store: Err("it hangs".to_owned()),
    };
    for part in [Part::StoreData, Part::StoreMaster] {
        let refused = judge(part, "x", (3, 2), &pods("x", 3, 3), &unknown);
        assert_says(&refused, &["not known: it hangs"]);
    }
    assert!(judge(Part::StoreData, "x", (3, 4), &[], &unknown).is_ok());
}

#[test]
fn an_exclusion_that_would_stay_behind_is_told_of() {
    let excluded = |nodes| Held {
        excluded: BTreeSet::from(["d-2".to_owned(), "d-3".to_owned()]),
        ..held(nodes)
    };
    assert!(data_to(2, excluded(2)).unwrap()[0].contains("before d-2 comes again"));
    assert!(data_to(4, excluded(3)).unwrap()[0].contains("d-3 will get no shards"));
}

#[test]
fn the_masters_that_stay_are_a_majority_of_those_that_vote() {
    let three = || voting(&["m-0", "m-1", "m-2"]);
    assert_says(
        &masters_to(3, 1, three()),
        &["1 of 3 masters", "2 must agree", "node_names=m-1,m-2"],
    );
    let four = voting(&["m-0", "m-1", "m-2", "m-3"]);
    assert_says(&masters_to(4, 2, four), &["2 of 4", "3 must agree"]);
    let five = voting(&["m-0", "m-1", "m-2", "m-3", "m-4"]);
    assert_eq!(masters_to(5, 3, five), Ok(vec![]));
    // Votes are of nodes that are called otherwise: none of them would stay.
    assert_says(&masters_to(3, 2, voting(&["a", "b", "c"])), &["0 of 3"]);
}

#[test]
fn below_three_masters_votes_are_taken_away_first() {
    let three = voting(&["m-0", "m-1", "m-2"]);
    assert_says(&masters_to(3, 2, three), &["below 3", "node_names=m-2"]);
    assert_eq!(masters_to(3, 2, voting(&["m-0"])), Ok(vec![]));
    assert_eq!(masters_to(3, 1, voting(&["m-0"])), Ok(vec![]));
}

#[test]
fn an_even_number_of_masters_is_told_of_and_elasticsearch_6_is_left_alone() {
    assert!(masters_to(3, 4, voting(&["m-0"])).unwrap()[0].contains("no more than 3 do"));
    assert_eq!(masters_to(3, 5, voting(&["m-0"])), Ok(vec![]));
    for to in [2, 5] {
        assert_says(
            &masters_to(3, to, Held::default()),
            &["minimum_master_nodes"],
        );
    }
}

#[test]
fn a_cluster_is_read_as_elasticsearch_writes_it() {
    let nodes = json!({
        "nodes": {"n1": {"name": "d-0"}, "n2": {"name": "d-1"}, "n3": {"name": "m-0"}},
        "routing_nodes": {
            "unassigned": [{"shard": 0}],
            "nodes": {"n1": [{"shard": 0}, {"shard": 1}], "n2": [{"shard": 0}], "n3": []},
        },
    });
    let votes =
        json!({"metadata": {"cluster_coordination": {"last_committed_config": ["n3", "gone"]}}});
    let indices = json!({
        "a": {"settings": {"index.number_of_replicas": "1"}},
        "b": {"settings": {"index.number_of_replicas": "5", "index.auto_expand_replicas": "0-all"}},
        "c": {"settings": {"index.number_of_replicas": "2", "index.auto_expand_replicas": "false"}},
    });
    let cluster = json!({
        "persistent": {"cluster.routing.allocation.exclude._name": "d-1, d-2"},
        "transient": {"cluster.routing.allocation.exclude._name": ""},
    });
    let read = Held::read(&nodes, &votes, &indices, &cluster);
    assert_eq!(read.copies, 3);
    assert_eq!(read.unassigned, 1);
    assert_eq!(
        read.shards,
        BTreeMap::from([("d-0".to_owned(), 2), ("d-1".to_owned(), 1)])
    );
    assert_eq!(
        read.voters,
        BTreeSet::from(["gone".to_owned(), "m-0".to_owned()])
    );
    assert_eq!(
        read.excluded,
        BTreeSet::from(["d-1".to_owned(), "d-2".to_owned()])
    );
}
