"""DISNet's network and sessions: the contract, who runs when, choosing again, undo, views, cost, PiClick's weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clicklab.checkpoint import convert
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.mask_prediction import ViewPrediction
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods.disnet import DISNetNet
from clicklab.methods.disnet.predictor import like_the_view
from clicklab.methods.disnet.state import Chosen, Proposals
from clicklab.methods.piclick import PiClickNet
from clicklab.methods.simpleclick import SimpleClickNet
from clicklab.records import Clicks, EvaluationObject, Prediction
from clicklab.views.frames import Frame, View, ZoomIn

ONE = Clicks.from_list([[(10.5, 20.0, 1)], [(40.0, 8.0, 1)]])
MORE = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1), (30, 50, 1), (5, 6, 0)]])
ABLATIONS = [
    {},
    {"first_click": "decoder"},
    {"num_queries": 1},
    {"token_attention": "sam"},
    {"feature_guidance": "sam"},
    {"augmented_clicks": False},
    {"conv_ffn": False},
    {"dense_clicks": True},
]


def mini(**options):
    torch.manual_seed(0)
    return DISNetNet.from_variant("mini", **options)


def photo(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (70, 90, 3), dtype=np.uint8)


def session_of(network, passes=None, **options):
    """A session; `passes` notes the batch sizes of P, the proposal network."""
    if passes is not None:
        network.backbone.register_forward_hook(lambda module, args, output: passes.append(len(output)))
    session = Session(predictor_for(network, EvaluationProtocol(**({"flip": False} | options))))
    session.set_image(photo())
    return session


@torch.no_grad()
@pytest.mark.parametrize("options", ABLATIONS)
def test_contract(options):
    network = mini(**options).eval()
    image, nothing = torch.rand(2, 3, 64, 96), torch.zeros(2, 1, 64, 96)
    first = network(image, ONE, nothing)
    count = options.get("num_queries", 7)
    assert first.logits.shape == (2, count, 64, 96)
    assert first.score.shape == (2, count)
    assert torch.equal(network.step(first.state, ONE, nothing).logits, first.logits)
    shown = first.logits[:, count - 1 :].sigmoid()
    second = network.step(first.state, MORE, shown)
    assert second.logits.shape == (2, 1, 64, 96)
    assert second.score is None
    again = network.step(second.state, MORE, torch.rand(2, 1, 64, 96))  # what is shown does not matter any more
    assert torch.equal(again.logits, second.logits)
    whole = network(image, MORE, shown)
    torch.testing.assert_close(whole.logits, second.logits)
    alone = network(image[1:], MORE[1:], shown[1:])
    torch.testing.assert_close(alone.logits, whole.logits[1:], rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("options", ABLATIONS)
def test_clicks_are_read(options):
    """P reads the place of the first click and nothing else; R the place and the sign of the others."""
    network, image, nothing = mini(**options).eval(), torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    places = [[(9, 9, 1)], [(50, 40, 1)]]
    first = [network(image, Clicks.from_list([clicks]), nothing) for clicks in places]
    assert (first[0].logits - first[1].logits).abs().max() > 1e-5
    state = first[0].state.choose(torch.zeros(1, dtype=torch.long))
    others = [(30, 30, 1), (30, 30, 0), (40, 20, 1)]
    answers = [network.step(state, Clicks.from_list([[places[0][0], other]]), nothing).logits for other in others]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (answers[i] - answers[j]).abs().max() > 1e-6


@torch.no_grad()
def test_r_may_answer_the_first_click_too():
    """Each candidate is what R makes of that proposal with the one click; scores and later clicks stay as they are."""
    plain, asked = mini(), mini(refine_first=True)
    asked.load_state_dict(plain.state_dict())
    image, prev = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    one, two = Clicks.from_list([[(20, 30, 1)]]), Clicks.from_list([[(20, 30, 1), (50, 40, 0)]])
    with torch.no_grad():
        answer, proposals = asked(image, one, prev), plain(image, one, prev)
        third = plain.refine(proposals.state.choose(torch.tensor([2])), one, (64, 64))
        assert torch.equal(answer.logits[:, 2:3], third) and not torch.equal(answer.logits, proposals.logits)
        assert torch.equal(answer.score, proposals.score)
        assert torch.equal(asked.step(answer.state, one, prev).logits, answer.logits)
        assert torch.equal(asked(image, two, prev).logits, plain(image, two, prev).logits)


def test_the_mask_shown_tells_which_proposal_was_chosen():
    network, image = mini().eval(), torch.rand(2, 3, 64, 96)
    state = network(image, ONE, torch.zeros(2, 1, 64, 96)).state
    assert isinstance(state, Proposals)
    rows = torch.arange(2)
    for pick in (torch.tensor([0, 6]), torch.tensor([3, 2])):
        shown = torch.nn.functional.interpolate(state.masks[rows, pick, None].sigmoid(), (64, 96), mode="bilinear")
        assert state.nearest(shown).tolist() == pick.tolist()
        chosen = state.choose(pick)
        assert torch.equal(chosen.query, state.queries[rows, pick])
        assert chosen.features is state.features
    assert torch.equal(state.nearest(torch.zeros(2, 1, 64, 96)), state.score.argmax(1))


@pytest.mark.parametrize("options", ABLATIONS)
def test_every_parameter_learns(options):
    """DDP runs without a search for unused parameters, with positive clicks only too."""
    network, size = mini(**options).train(), (64, 64)
    clicks = Clicks.from_list([[(9, 9, 1), (40, 30, 1)]])
    answer = network.propose(network.start(torch.rand(1, 3, *size)), clicks, size)
    assert len(answer.extras["masks"]) == 4
    assert answer.extras["class_logits"].shape[:2] == (4, 1)
    refined = network.refine(answer.state.choose(torch.zeros(1, dtype=torch.long)), clicks, size)
    terms = [*answer.extras["masks"], answer.extras["class_logits"], refined]
    sum(term.square().mean() for term in terms).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


@torch.no_grad()
@pytest.mark.parametrize("variant", ["small", "tiny"])
def test_small_variants_run_at_their_size_with_the_vit_of_simpleclick(variant):
    network = DISNetNet.from_variant(variant).eval()
    side = network.arguments["image_size"]
    answer = network(torch.rand(2, 3, side, side), MORE, torch.zeros(2, 1, side, side))
    assert answer.logits.shape == (2, 1, side, side) and answer.logits.isfinite().all()
    compared = SimpleClickNet.from_variant(variant).arguments
    shared = {"image_size", "patch_size", "embed_dim", "depth", "num_heads", "neck_dims", "click_radius"}
    assert {name: network.arguments[name] for name in shared} == {name: compared[name] for name in shared}


def test_wrong_arguments():
    for options, message in (
        ({"num_queries": 0}, "num_queries must be 1 or more"),
        ({"first_radius": 0}, "first_radius must be positive"),
        ({"first_click": "both"}, "first_click is 'both', expected 'encoder' or 'decoder'"),
        ({"token_attention": "none"}, "token_attention is 'none', expected 'masked_click' or 'sam'"),
    ):
        with pytest.raises(ValueError, match=message):
            mini(**options)


@pytest.mark.parametrize("flip", [False, True])
def test_later_clicks_undo_and_another_choice_need_no_new_pass(flip):
    passes = []
    session = session_of(mini().eval(), passes, flip=flip)
    session.add_click(30, 40)
    assert passes == [1 + flip]
    assert session.candidates.shape == (7, 70, 90)
    assert session.state.chosen == session.scores.argmax()
    session.choose(2)
    shown, by_choice = session.probability, {}
    for pick in (2, 5, 2):
        session.choose(pick)
        session.add_click(10, 10, positive=False)
        assert session.candidates.shape == (1, 70, 90)
        assert session.scores is None
        first = session.probability
        session.add_click(60, 70)
        session.undo()
        assert np.array_equal(session.probability, first)
        session.undo()
        by_choice.setdefault(pick, []).append(first)
    assert passes == [1 + flip]
    assert np.array_equal(*by_choice[2])
    assert not np.allclose(by_choice[2][0], by_choice[5][0])
    assert np.array_equal(session.choose(2), shown > 0.49)
    session.undo()
    session.add_click(30, 40)  # another first click, even at the same place, asks P
    assert len(passes) == 2


@torch.no_grad()
def test_the_chosen_proposal_goes_on():
    session = session_of(mini().eval())
    session.add_click(30, 40)
    proposals = session.state.network_state
    for pick in range(7):
        session.choose(pick)
        session.add_click(10, 10, positive=False)
        assert isinstance(session.state.network_state, Chosen)
        assert torch.equal(session.state.network_state.query, proposals.queries[:, pick])
        assert session.state.network_state.features is proposals.features
        session.undo()


def test_another_view_caches_anew():
    """A zoom-in looks at the mask: P runs on the new view, and what the user chose goes on there."""
    passes = []
    network = mini().eval()
    session = session_of(network, passes, zoom_in=ZoomIn((64, 64), skip_clicks=-1, min_crop_size=20))
    session.add_click(30, 40)
    small = torch.zeros(7, 70, 90)
    small[:, 20:40, 30:50] = 1.0
    whole_image = View((Frame.whole((70, 90)),))
    session.history[-1] = replace(session.state, prediction=ViewPrediction(small, whole_image))
    session.add_click(25, 35)
    assert passes == [1, 1]
    region = session.state.region
    assert region.size < (40, 40)
    assert isinstance(session.state.network_state, Chosen)
    view = session.state.view
    with torch.no_grad():
        crop, shown = view.image(session.pixels)[None], view.image(small[:1])[None]
        whole = network(crop, view.clicks(Clicks.from_list([session.clicks])), shown)
    torch.testing.assert_close(view.back(whole.logits[0].sigmoid()), session.state.prediction.maps())


def test_first_click_has_to_be_positive():
    session = session_of(mini().eval())
    with pytest.raises(ValueError, match="has to be a positive one"):
        session.add_click(30, 40, positive=False)
    assert session.clicks == ()
    session.set_mask(np.ones((70, 90), dtype=bool))
    session.add_click(30, 40, positive=False)  # there is a mask that it can correct
    assert len(session.clicks) == 1


def test_clicks_beyond_the_limit_are_not_seen():
    passes = []
    session = session_of(mini().eval(), passes, net_clicks_limit=1)
    session.add_click(30, 40)
    proposals = session.candidates
    session.add_click(10, 10, positive=False)
    assert np.array_equal(session.candidates, proposals)
    assert passes == [1]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("choice", ["automatic", "oracle"])
def test_lockstep_equals_one_at_a_time(flip, choice):
    """Objects at their first click and at later ones share a round, never a batch; every second one stops early."""
    network = mini().eval()
    objects = []
    for n in range(5):
        target = np.zeros((70, 90), dtype=np.int8)
        target[5:50, :] = 1 if n % 2 else 0
        target[20 + n : 30, 10:20] = 1
        objects.append(EvaluationObject(photo(n), target, f"photo{n}", 1, n))
    protocol = EvaluationProtocol(max_clicks=3, flip=flip, choice=choice, thresholds=(0.4,))

    def played(batch_size):
        results = play(predictor_for(network, protocol), objects, batch_size)
        return sorted(results, key=lambda result: result.index)

    one, many = played(1), played(3)
    assert [r.clicks for r in one] == [r.clicks for r in many]
    np.testing.assert_allclose(np.concatenate([r.ious for r in one]), np.concatenate([r.ious for r in many]), atol=1e-5)
    assert len({len(r.ious) for r in one}) > 1, [r.ious for r in one]
    assert all(0 < r.first_seconds <= r.seconds for r in many)


def test_proposals_of_a_view_and_its_shuffled_mirror_are_the_view():
    draw = torch.Generator().manual_seed(2)
    logits, score = torch.randn(2, 7, 16, 20, generator=draw) * 3, torch.rand(2, 7, generator=draw)
    order = torch.stack([torch.randperm(7, generator=draw) for _ in range(2)])
    rows = torch.arange(2)[:, None]
    queries = torch.randn(2, 7, 4, generator=draw)

    def both(values, mirrored):
        return torch.stack([values, mirrored], dim=1).flatten(0, 1)

    masks = both(logits, logits[rows, order].flip(-1))
    state = Proposals(masks, both(queries, queries[rows, order]), masks, both(score, score[rows, order]))
    answer = like_the_view(Prediction(masks, state.score, state), 0.49)
    for found in (answer.logits, answer.state.masks):
        assert torch.equal(found, both(logits, logits.flip(-1)))
    for found in (answer.score, answer.state.score):
        assert torch.equal(found, score.repeat_interleave(2, 0))
    assert torch.equal(answer.state.queries, queries.repeat_interleave(2, 0))


def test_cost_at_real_size():
    """Multiply-adds of ViT-B at 448: P as counted by hand, R under a tenth of it, for any number of clicks."""
    state, cost = None, []
    with torch.device("meta"), torch.no_grad():
        network = DISNetNet.from_variant("base").eval().requires_grad_(False)
        millions = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in network.named_children()}
        image = torch.rand(1, 3, 448, 448)
        for count in (1, 2, 20):
            clicks = Clicks(torch.rand(1, count, 2), torch.ones(1, count, dtype=torch.int8))
            with FlopCounterMode(display=False) as flops:
                state = network.start(image) if state is None else state
                state = network.step(state, clicks, torch.rand(1, 1, 448, 448)).state
            cost.append(flops.get_total_flops() / 2e9)
    assert millions["refinement"] == pytest.approx(4.19, abs=0.01)
    assert sum(millions.values()) == pytest.approx(105.5 + 4.19, abs=0.1)
    assert cost[0] == pytest.approx(105.5, abs=0.1)
    assert cost[1] == pytest.approx(6.87, abs=0.1)
    assert cost[2] < 1.01 * cost[1] < 0.1 * cost[0]


def test_start_from_piclick(tmp_path):
    """A converted PiClick fills all of P, and the layers of R that mean the same."""
    torch.manual_seed(1)
    sizes = mini().arguments
    shared = {name: sizes[name] for name in ("embed_dim", "depth", "num_heads", "neck_dims", "decoder_dim")}
    shared |= {name: sizes[name] for name in ("pixel_hidden", "decoder_hidden", "pixel_layers", "image_size")}
    piclick = PiClickNet(patch_size=8, decoder_layers=5, **shared)
    checkpoint = {
        "clicklab_method": "piclick",
        "hyper_parameters": {"variant": None, "network_options": piclick.arguments},
        "state_dict": {f"network.{name}": value for name, value in piclick.state_dict().items()},
    }
    torch.save(checkpoint, tmp_path / "run.ckpt")
    convert(tmp_path / "run.ckpt", tmp_path / "piclick.ckpt")
    network, untouched = mini(), mini()
    network.load_pretrained(tmp_path / "piclick.ckpt")
    theirs, before = piclick.state_dict(), untouched.state_dict()
    drawn = "patch_embed_coords.proj.weight"
    for name, value in network.state_dict().items():
        if name == drawn:
            assert torch.equal(value, theirs[name][:, 1:2])
        elif name.startswith("refinement.mask_embed."):
            assert torch.equal(value, theirs[name.replace("refinement", "mask_decoder")])
        elif name.endswith("codes.sign"):
            assert torch.equal(value, theirs["click_embed"])
        else:
            assert torch.equal(value, theirs[name] if name in theirs else before[name]), name
    shown = mini(first_click="decoder")
    shown.load_pretrained(tmp_path / "piclick.ckpt")
    assert torch.equal(shown.click_embed, piclick.click_embed[1])
    with pytest.raises(ValueError, match="keys of another shape"):
        mini(num_queries=3).load_pretrained(tmp_path / "piclick.ckpt")


def test_files_that_do_not_fit(tmp_path):
    torch.save({"clicklab_method": "simpleclick", "state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="a checkpoint of simpleclick; DISNet starts from one of piclick"):
        mini().load_pretrained(tmp_path / "other.ckpt")
    torch.save({"state_dict": {"backbone.pos_embed": torch.zeros(1)}}, tmp_path / "official.pth")
    with pytest.raises(ValueError, match="make it one of ours first: clicklab convert"):
        mini().load_pretrained(tmp_path / "official.pth")
    torch.save({"model": {"weight": torch.zeros(1)}}, tmp_path / "mae.pth")
    with pytest.raises(ValueError, match="not a MAE file"):
        mini().load_pretrained(tmp_path / "mae.pth")
