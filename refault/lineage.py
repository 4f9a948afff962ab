"""Digests of one engine before and after a change that left its meaning alone.

An engine is named by the digest of its source (:mod:`refault.replay.source`), and its results by
that name. Moving files, or naming a number, changes the digest and nothing else. Here the old
names stand beside the new one, so that results made under an old name stay current, and may stand
beside new ones.

An entry is made only when every golden case agrees and no result changes a byte but for the name.
"""

from __future__ import annotations

#: Old digest → the present one of the same engine.
SAME_AS: dict[str, str] = {
    **dict.fromkeys(
        (
            # refault/mmu, before engines were plural, under Python 3.11, 3.12 and 3.13
            "9ca3a6b58ca31c76e84dfdffdadefb89dd831d626d5f94b346425e88927a2f72",
            "76c9125a12e37f430f3fc13aa22226e46f3e7c63b4c09a46321035e21c4ed50a",
            "f76cb7caa5e69c622269c2eb44cecf4453c0c777b155c161a203baaefaf7bcfb",
            # refault/engines/shadow, before values of knobs had names
            "4c0bd16e4e5a9f88fb97bd2911f7f156bb8a29d4d7e1549859e2a24a23b9e523",
            # before the parts of a trace and known memory were renamed, and errors reworded
            "44419a8df96f5d261831a5a4016537438d3afdce943010af6a7d620bbbf9e77c",
            # before the knobs of 2.6.36 to 2.6.38 and of PVM, which no earlier variant sets
            "312a160d8ab022893c477b2fb2089263d85627a2968d3b96353a81c08ecf18c8",
            # before headers of format 2, and captures of PAE and 32-bit guests, which were refused
            "0e0b70301ad1dcd6653020d48a2179a3d581efc47813826c0ce9da9b0b00abfe",
            # before the loop was made of the parts that accounts use too, and its fast path shorter
            "b2cea1f3e5bfc33943e5a3fc8c2ac933d6490e7db2eab23272a670c0eb81426a",
            # before ranges, read dirty logs and registers set from outside, unknown to older traces
            "f42e1378b60a1793418e4cd1079bc5277ec4b3f2e1cc39531b5c25b2cb61aad9",
            # before what only writes a trace was taken out of what reads one
            "12d751733f93ac7533f4aadf5ceb3148b3f341b4493577675b34a249f7bebd0c",
            # before kernels were translated once, with their door, and a TLB's key read once
            "997aa9cfe338da41e8065e642a3671e421b82190d3523d2cf6e9488b96d16201",
            # with kernels translated once, which went wrong in audits
            "39a51d7f01d2ca8c557c94a66a307315287f60f09c2c2883f4adc5267a372b73",
            # before kernels were translated once again, each after all that call it
            "8546601296143e2159bf42de7ba9491ee094596341819eee556f151f133223f7",
            # before dirty logs were held against what was written: who reads one is told more now
            "3226b709a6fbf37e56711437b84411dd27d551dd06458d30435cf66f947918ca",
            # before the counts of answers and of dirty logs were written once for all engines
            "52d3d155afb69afc2cc7fa13320c7b7c490a366d56cd5c9d8596ef8280c060b0",
            # before the digest was kept beside compiled kernels
            "e4ec4ab712f98b1c4a4d2aa9329ec18dc755b196d1ad6de67faff8c214d3e749",
            # before counters were kept only of rows that left the fast path, for who asks for them
            "243e2a584492464e5201078a7dd7de6f795e3bf648a62afe9fbfa3d998f0acb8",
            # before captures of guests with five levels were lowered, which it refuses
            "a022dca4a91bb7b47db2b908fbc0820ad20d9edd8caab233b43f3e21c7aa518c",
        ),
        "c40b13ff9fe1bf5aef4636abdce29a3e76b59a4c15cd4360c8339c844caaef4c",
    ),
    **dict.fromkeys(
        (
            # refault/engines/walk, before values of knobs had names: refault/replay is part of it
            "0f70167b504e44c644acf4e19d5bb84f35a4d2e1c455af8e0eab4cdfb708a058",
            # before the renames, as above
            "50981c22867a8458b5c7f599dc3402baac20a8f07e40ec275a47a6082b0c1fe4",
            # before headers of format 2, and captures of PAE and 32-bit guests, as above
            "a2f8031f592ce670286f494704f975a93a953bc443cd4a7cf3fd77acbf0c6218",
            # before a session ran itself to its end: refault/replay is part of it
            "8e23933b22320560b403f97034a70c7cde1ba9b4f161f5bf55f968e35101d332",
            # before registers set from outside, as above
            "64f60e5cc7c3e40d820f33d55afab49f9e0b3ac520cc2f0efc38c6f2926f17e5",
            # before the same
            "11977ae348b82576e7a6071377373183b9bc4c43c008623941b6b33b64294bf3",
            # before kernels were translated once, as above
            "d713d367be16ae8103f488f9a4d38a099d291b91a728f9900d867f77506e9d25",
            # with kernels translated once, which went wrong in audits
            "c2237918862e95f381b21e97247515e581b16b1caca9a2504fd133d453344f40",
            # before the same
            "bed41dbf9b03ca5a4affb94998433f78f93f2644f0591dbf6966069fec7a3205",
            # before dirty logs were held against what was written, as above
            "39a59ec4ffe6baa391365daf7871b022e62cd2c69ed43a5e26faa8855e199dd4",
            # before a lost page was told in a sentence of its number, which these have none of
            "a2ce40ce4641e8667d1aadc61d873902bb99f5bb02c39bb58aac7a66f28b6e7b",
            # before counts were written once, as above
            "488b8a6fb37d34ee031f10e273ea6168fdc05f13be48173018481a83fdb46317",
            # before the same
            "3616b17a51d7f8328d436e8fea45636fe54d8f776b80dfc481b4d4a96c22699b",
            # before the same
            "27dd05ce788ecebe55355b470d1d4b532553d6d9fbbf5d3e9cba3072295cc882",
        ),
        "4d264b2b9727470eb22cc16f0670d875d378a937e00853ee29e1d4f9072cbdaf",
    ),
    **dict.fromkeys(
        (
            # refault/engines/kernel, before a session ran itself to its end, and before outcomes
            # were judged where they lie
            "ff036e38f16b982865b2f5e51028650a0fc170c5d7fd762d07eebd9f09a1a025",
            "b8acffb2784187e2b31f205f73e14c79bd99df91288f274edf79a6e2525a4db7",
            # before the same, with ranges and registers set from outside
            "9f8a2d7352a2641de0a93eead522c3e88fa958279e58fc12466e51d474e9c464",
            # before the same
            "5359404ede0401826e773006da2ea0933409606b5f8b3d75f9483210f1d31021",
            # before kernels were translated once, as above
            "681ff4fe189d0f7f96a123e82bc308feab264479f9f116439b74de92a62a2abc",
            # before an access that came out as witnessed was told in one byte
            "190139f0350b0c39cf74d3bf2f5bca068b6ac30012ad724967cecb88d5f1cd01",
            # with kernels translated once, as above
            "56b91c0553f3769c7480b4b2f9cc5f060ffe1ee44929be0f814d752e6f058415",
            # before the same
            "58faf1cbca2a99cdbac3e79bf404e98af8110445b247691ef54927b9e4f498b9",
            # before a program was told with each part whether all is recorded
            "a87199e3f966a7d08c7e9973cd1b8a141d35359df8edd5e54faed902b3680002",
            # before it was told so of what is not terse, too
            "5dfa1ba8a3200717efae9046488988601b21952f36ddb8a62b996e1f4e499d7e",
            # before the same
            "51b7967f765db244003bdd6a6c9d4eb7de8bd3bdc77d791232286f120274f464",
            # before programs told of missed flushes, and knew whether a guest was captured
            "d559a2e6d03e578b1667cfacb00e93aa6e4471ff55d2322ae89511ba5c0c7238",
            # before a lost page was told in a sentence of its number, which these have none of
            "54462f27f306c8f35b6c4268d392ddcef98b2a9c760698816439a42323a9e136",
            # before their dirty logs were held against what was written
            "2b8809f380bae595179bc3477cbc04178e09711b6fa24f24fa884d53f0f96615",
            # before counts were written once, as above
            "73050d23b0b3a53026d2905adf370532c4a0b1eb0b6f830b8448da1f50b4fbda",
            # before the same
            "a7346da0709ea20b0438563b967bb67567bd9b5c7f2126dd4fbbde8bf960a780",
            # before it replayed them, and programs told only of rows not as witnessed
            "6e4cd43aea4a71f13238330a8860dc50117c63ba11e9bca93977ccefe525183a",
        ),
        "42a77b0216dea1c8547df587457f1e42be3171cd91ae07ae889e675302d28898",
    ),
}


def present_name(digest: str) -> str:
    """The latest digest of the engine that digest names."""
    return SAME_AS.get(digest, digest)


def names_of(digest: str) -> tuple[str, ...]:
    """Every digest that names the same engine, the latest first."""
    latest = present_name(digest)
    return (latest, *(old for old, new in SAME_AS.items() if new == latest))
