// The program heed-lab as a person uses it: a run in a temporary folder, stopped, resumed, inspected, and fed bad
// input.
#include <doctest/doctest.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/safetensors.h>
#include <heed/tests/support/skip.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

using heed::read_file;

#ifdef HEED_LAB
namespace {

/// A folder of its own, with a text of some 6,000 characters.
struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "heed-lab-test-XXXXXX").string();
    path = mkdtemp(name.data());
    std::ofstream text(path / "text.txt");
    for (int i = 0; i < 200; ++i) text << "line " << i * 7919 % 1000 << " of a text, über alles: " << i << "\n";
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(std::string const& name) const { return (path / name).string(); }
};

struct Outcome {
  int status;
  std::string out, err;
};

/// Runs a shell line in which `lab` stands for the program.
Outcome shell(Folder const& folder, std::string const& line) {
  std::string const script =
      "cd '" + folder.path.string() + "' && lab() { '" HEED_LAB "' \"$@\"; }; { " + line + "; } > out.log 2> err.log";
  setenv("HEED_LAB_SCRIPT", script.c_str(), 1);
  int const status = std::system("exec bash -c \"$HEED_LAB_SCRIPT\"");
  return {WEXITSTATUS(status), read_file(folder / "out.log"), read_file(folder / "err.log")};
}

}  // namespace

TEST_CASE("a run, its files, and what the other commands say of it") {
  Folder const folder;
  Outcome const train = shell(folder, "lab train --preset tiny --text text.txt --out run");
  CHECK_MESSAGE(train.status == 0, train.err);
  CHECK(train.out.find("validation loss") != std::string::npos);
  CHECK(train.err.find("step 60/60") != std::string::npos);
  CHECK(train.err.find('\r') == std::string::npos);  // plain lines without a terminal
  std::string const log = read_file(folder / "run/log.csv");
  CHECK(std::count(log.begin(), log.end(), '\n') == 61);
  CHECK(read_file(folder / "run/config.json").find("\"layers\": 1") != std::string::npos);
  heed::Safetensors const checkpoint = heed::load_safetensors(folder / "run/checkpoint.safetensors");
  CHECK(checkpoint.find("blocks.0.attn.q_proj.weight") != nullptr);

  Outcome const generate = shell(folder, "lab generate run --prompt 'line ü' --tokens 40");
  CHECK_MESSAGE(generate.status == 0, generate.err);
  CHECK(generate.out.starts_with("line ü"));
  CHECK(generate.out == shell(folder, "lab generate run/checkpoint.safetensors --prompt 'line ü' --tokens 40").out);

  Outcome const inspect = shell(folder, "lab inspect run --report report.html && lab inspect run --json");
  CHECK_MESSAGE(inspect.status == 0, inspect.err);
  CHECK(inspect.out.find("entropy") != std::string::npos);
  for (char const* key : {"\"effective_count\"", "\"sink_rate\"", "\"stable_rank\"", "\"rank_residual\""})
    CHECK(inspect.out.find(key) != std::string::npos);
  Outcome const all = shell(folder, "lab inspect run --all && lab list diagnosis");
  CHECK_MESSAGE(all.status == 0, all.err);
  for (char const* measure : {"output-similarity", "blocks.0.attn", "Dong et al., 2021"})
    CHECK(all.out.find(measure) != std::string::npos);
  std::string const report = read_file(folder / "report.html");
  CHECK(report.find("data:image/bmp;base64,") != std::string::npos);
  CHECK(report.find("http") == std::string::npos);  // needs nothing else
}

TEST_CASE("reproduce: what was measured is not measured again, and disagreement is told") {
  Folder const folder;
  auto const results = [&](char const* of_softmax) {
    std::ofstream(folder / "fast-weight.txt")
        << "figure 2, softmax, 60, seed 1\t" << of_softmax << " 200 0.3\n"
        << "figure 2, linear, 60, seed 1\t0.025 2300 2.9\nfigure 2, linear, 100, seed 1\t0.19 1900 5\n"
        << "figure 2, dpfp-1, 60, seed 1\t0.0009 800 2.7\nfigure 2, favor-64, 60, seed 1\t0.49 1700 5.8\n"
        << "figure 3, dpfp-1, 20, seed 1\t0.1 1400 1\nfigure 3, dpfp-1 delta, 20, seed 1\t0.0007 700 3.6\n";
    return shell(folder, "lab reproduce fast-weight --quick --out .");
  };
  Outcome const same = results("6e-05");
  CHECK_MESSAGE(same.status == 0, same.err);
  CHECK(same.out.find("7 of 7 cells agree") != std::string::npos);
  Outcome const other = results("0.02");
  CHECK(other.status == 1);
  CHECK(other.out.find("DISAGREES: partial, published solved") != std::string::npos);
  CHECK(shell(folder, "lab reproduce nothing").status == 2);
}

TEST_CASE("ranks: the bits of one process that accumulates, spread state, and checkpoints for any number of them") {
  Folder const folder;
  std::string const train = "lab train --preset tiny --text text.txt ";
  Outcome const runs = shell(
      folder, train + "--batch 2 --accumulate 2 --out one && " + train + "--ranks 2 --out two && " + train +
                  "--ranks 2 --shard-optimizer --dropout 0.1 --out spread && " + train +
                  "--ranks 2 --dropout 0.1 --stop-at 31 --out stopped && "
                  "lab train --resume --ranks 2 --shard-optimizer --out stopped && " +
                  train + "--ranks 3 --shard-optimizer --stop-at 31 --out three && lab train --resume --out three");
  CHECK_MESSAGE(runs.status == 0, runs.err);
  auto const same = [&](char const* a, char const* b) {
    auto const x = heed::load_safetensors(folder / a), y = heed::load_safetensors(folder / b);
    REQUIRE(x.tensors.size() == y.tensors.size());
    for (auto const& [name, tensor] : x.tensors) {
      auto const* const other = y.find(name);
      REQUIRE(other != nullptr);
      CHECK_MESSAGE(tensor.to_vector<float>() == other->to_vector<float>(), name);
    }
  };
  same("one/checkpoint.safetensors", "two/checkpoint.safetensors");
  same("spread/checkpoint.safetensors", "stopped/checkpoint.safetensors");
  Outcome const many = shell(folder, train + "--ranks 5 --out none");
  CHECK(many.status == 2);
  CHECK(many.err.find("a batch of 4 rows does not give each of 5 ranks one") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "none"));
}

TEST_CASE("resumed, interrupted and uninterrupted runs end with the same bits, for any number of threads") {
  Folder const folder;
  std::string const train = "lab train --preset tiny --dropout 0.1 --text text.txt --out ";
  REQUIRE(shell(folder, train + "whole --threads 1").status == 0);
  REQUIRE(shell(folder, train + "two --threads 2").status == 0);
  REQUIRE(shell(folder, train + "four --threads 4").status == 0);
  REQUIRE(shell(folder, train + "stopped --stop-at 23; lab train --resume --out stopped --threads 2").status == 0);
  // Ctrl-C once some steps are done; the checkpoint is there, and resuming needs no option but the folder.
  Outcome const interrupted =
      shell(folder, "'" HEED_LAB
                    "' train --preset tiny --dropout 0.1 --text text.txt --out killed --steps 60 & pid=$!; "
                    "until [ $(wc -l < killed/log.csv 2>/dev/null || echo 0) -gt 5 ]; do sleep 0.01; done; "
                    "kill -INT $pid; wait $pid");
  CHECK((interrupted.status == 130 || interrupted.status == 0));  // 0 where it was done before the signal came
  REQUIRE(shell(folder, "lab train --resume --out killed").status == 0);
  std::string const whole = read_file(folder / "whole/checkpoint.safetensors");
  for (char const* run : {"two", "four", "stopped", "killed"}) {
    CAPTURE(run);
    CHECK(read_file(folder / (std::string(run) + "/checkpoint.safetensors")) == whole);
  }
  auto const without_seconds = [&](std::string const& run) {
    std::string kept;
    std::ifstream log(folder / (run + "/log.csv"));
    for (std::string line; std::getline(log, line);) kept += line.substr(0, line.rfind(',')) + "\n";
    return kept;
  };
  CHECK(without_seconds("stopped") == without_seconds("whole"));
}

TEST_CASE("regularisers by name: a run with their state resumes with the same bits") {
  Folder const folder;
  std::string const train = "lab train --preset tiny --regularize drophead:p=0.2+mean-teacher --text text.txt --out ";
  Outcome const whole = shell(folder, train + "whole");
  REQUIRE_MESSAGE(whole.status == 0, whole.err);
  REQUIRE(shell(folder, train + "stopped --stop-at 23; lab train --resume --out stopped").status == 0);
  REQUIRE(shell(folder, "lab train --preset tiny --text text.txt --out plain").status == 0);
  std::string const checkpoint = read_file(folder / "whole/checkpoint.safetensors");
  CHECK(checkpoint.find("regularizer.1.") != std::string::npos);
  CHECK(read_file(folder / "stopped/checkpoint.safetensors") == checkpoint);
  CHECK(read_file(folder / "plain/checkpoint.safetensors") != checkpoint);
}

TEST_CASE("what regularisers do to layers in evaluation too is there where a checkpoint is used") {
  Folder const folder;
  auto const loss = [](std::string const& text) {
    size_t const at = text.find("validation loss ");
    return at == text.npos ? text : text.substr(at + 16, 6);
  };
  for (std::string const regularizer :
       {"sigma-reparam", "weight-norm", "weight-standardization", "logit-soft-cap:cap=0.1"}) {
    Outcome const run =
        shell(folder, "lab train --preset tiny --steps 20 --text text.txt --out run --regularize " + regularizer);
    REQUIRE_MESSAGE(run.status == 0, run.err);
    Outcome const used = shell(folder, "lab inspect run && lab generate run --tokens 10 && rm -r run");
    REQUIRE_MESSAGE(used.status == 0, used.err);
    CHECK_MESSAGE(loss(used.out) == loss(run.out), regularizer);
  }
}

TEST_CASE("bad input: one line that says what to do, exit code 2, and nothing written") {
  Folder const folder;
  REQUIRE(shell(folder,
                "lab train --preset tiny --text text.txt --out run --steps 5; : > empty.txt; echo short > short.txt; "
                "head -c 5000 run/checkpoint.safetensors > cut.safetensors")
              .status == 0);
  std::string const before = read_file(folder / "run/checkpoint.safetensors");
  struct Case {
    char const *line, *says;
  };
  for (Case const c : {Case{"lab", "subcommand"},
                       {"lab train --bogus", "--bogus"},
                       {"lab train --preset tiny --out new", "no text was given"},
                       {"lab train --preset huge --text text.txt --out new", "expected one of"},
                       {"lab train --preset tiny --text text.txt --out new --device gpu", "expected cpu, cuda"},
                       {"lab train --preset tiny --text text.txt --out new --device cuda:99", "there is no cuda:99"},
                       {"lab train --preset tiny --text missing.txt --out new", "missing.txt"},
                       {"lab train --preset tiny --text empty.txt --out new", "empty"},
                       {"lab train --preset tiny --text short.txt --out new", "more than 32 tokens"},
                       {"lab train --preset tiny --text text.txt --out new --steps -1", "--steps of 1 or more, got -1"},
                       {"lab train --preset tiny --text text.txt --out new --heads 3", "3 heads and width 32"},
                       {"lab train --preset tiny --text text.txt --out new --dim 1.5", "1.5"},
                       {"lab train --preset tiny --text text.txt --out new --layers 99999999999999999999", "integer"},
                       {"lab train --preset tiny --text text.txt --out new --layers 9999999999", "memory"},
                       {"lab train --preset tiny --text text.txt --out new --dropout 1", "dropout"},
                       {"lab train --preset tiny --text text.txt --out new --activation swish", "gelu"},
                       {"lab train --preset tiny --text text.txt --out new --learning-rate nan", "learning-rate"},
                       {"lab train --preset tiny --text text.txt --out text.txt/new", "text.txt/new"},
                       {"lab train --preset tiny --text text.txt --out new --profile no/trace.json", "no/trace.json"},
                       {"lab train --resume --out nowhere", "nowhere"},
                       {"lab train --resume --out run --heads 4", "heads (4, the checkpoint has 2)"},
                       {"lab train --resume --out run --text short.txt", "not the text"},
                       {"lab train --preset tiny --text text.txt --out new --regularize dropuot", "dropuot"},
                       {"lab list", "kind"},
                       {"lab list taks", "list one of"},
                       {"lab list task mqra", "mqar"},
                       {"lab inspect text.txt", "text.txt"},
                       {"lab inspect cut.safetensors", "cut.safetensors"},
                       {"lab inspect run --windows 0", "--windows"},
                       {"lab inspect run --json --report /dev/full > /dev/null", "No space left"},
                       {"lab inspect run --json --report text.txt/report.html > /dev/null", "text.txt/report.html"},
                       {"lab generate run --prompt '☃'", "☃"},
                       {"lab generate run --temperature -1", "temperature"},
                       {"HEED_ISA=z80 lab inspect run", "z80"},
                       {"HEED_THREADS=no lab inspect run", "HEED_THREADS"}}) {
    CAPTURE(c.line);
    Outcome const outcome = shell(folder, c.line);
    CHECK(outcome.status == 2);
    CAPTURE(outcome.err);
    CHECK(outcome.err.find(c.says) != std::string::npos);
    CHECK(outcome.err.find("Remedy: ") != std::string::npos);
    CHECK(!std::filesystem::exists(folder / "new"));
  }
  CHECK(read_file(folder / "run/checkpoint.safetensors") == before);

  // A level that the processor lacks (the emulated or older machine) is an Error as well.
  if (heed::all_isas().size() > 1 && !heed::has_isa(heed::all_isas().back()))
    CHECK(shell(folder, "HEED_ISA=" + std::string(heed::name(heed::all_isas().back())) + " lab inspect run").status ==
          2);
}

TEST_CASE("reproduce: rank collapse, in a moment") {
  Folder const folder;
  Outcome const outcome = shell(folder, "lab reproduce rank-collapse --quick");
  CHECK_MESSAGE(outcome.status == 0, outcome.out);
  CHECK(outcome.out.find("5 of 5 statements agree") != std::string::npos);
}

TEST_CASE("list: every catalogue as a table and as JSON, one row with its settings") {
  Folder const folder;
  Outcome const table = shell(folder, "lab list task && lab list task mqar");
  CHECK_MESSAGE(table.status == 0, table.err);
  for (char const* text : {"selective-copy", "Hochreiter", "pairs=8"}) {
    CAPTURE(text);
    CHECK(table.out.find(text) != std::string::npos);
  }
  Outcome const kinds = shell(folder, "lab list nothing");
  CHECK(kinds.status == 2);
  std::string list = kinds.err.substr(kinds.err.find("one of ") + 7);
  list.resize(list.find('.'));
  std::replace(list.begin(), list.end(), ',', ' ');
  std::istringstream names(list);
  int count = 0;
  for (std::string kind; names >> kind; ++count) {
    CAPTURE(kind);
    Outcome const json = shell(folder, "lab list --json " + kind);
    REQUIRE(json.status == 0);
    std::set<std::string> seen;
    for (auto const& row : nlohmann::json::parse(json.out)) {
      CHECK(seen.insert(row.at("name")).second);
      for (char const* key : {"family", "source", "summary"}) CHECK(!row.at(key).get<std::string>().empty());
      std::string const rank = row.at("rank");
      CHECK((rank == "must" || rank == "should" || rank == "could"));
      for (auto const& option : row.at("options")) CHECK(option.contains("default"));
    }
  }
  CHECK(count >= 2);
}

TEST_CASE(
    "compare: a journal that goes on after a kill and comes in shards gives the same verdict as a run in one go") {
  Folder const folder;
  std::string const compare =
      "compare --task mqar:pairs=2,length=8,vocabulary=8 --attention multi-head,sliding:window=1 --layers 1 --heads 2 "
      "--dim 16 --steps 20 --batch 8 --warmup 2 --evaluate-every 5 --evaluation 32 --learning-rates 1e-2,3e-2 --seeds "
      "2 "
      "--threads 1 --symptoms loss,sink --json --out ";
  auto const comparisons = [](std::string const& out) {
    auto json = nlohmann::json::parse(out.substr(out.find("{\n")));
    CHECK(json.at("variants").size() == 2);
    CHECK(!json.at("verdict").empty());
    return json.at("comparisons");
  };
  auto const lines = [&](std::string const& run) {
    std::string const journal = read_file(folder / (run + "/journal.jsonl"));
    return std::count(journal.begin(), journal.end(), '\n');
  };
  Outcome const whole = shell(folder, "lab " + compare + "whole");
  REQUIRE_MESSAGE(whole.status == 0, whole.err);
  auto const expected = comparisons(whole.out);
  REQUIRE(expected.size() == 2);
  CHECK(expected[0].at("measure") == "loss");
  CHECK(lines("whole") == 1 + 2 * (2 + 1));
  CHECK(whole.err.find("= 6 runs of 20 steps; 0 done") != std::string::npos);
  CHECK(whole.err.find("ETA") != std::string::npos);
  std::string const report = read_file(folder / "whole/report.html");
  for (char const* text : {"Verdict", "data:image/bmp;base64,", "sliding:window=1", "<polyline"}) {
    CAPTURE(text);
    CHECK(report.find(text) != std::string::npos);
  }
  for (char const* text : {"http", "<script", ">nan", ">inf", "NaN"}) {
    CAPTURE(text);
    CHECK(report.find(text) == std::string::npos);
  }

  // Killed without a chance to clean up, and the last line cut off in the middle.
  shell(folder, "'" HEED_LAB "' " + compare +
                    "killed & pid=$!; until [ $(wc -l < killed/journal.jsonl 2>/dev/null || echo 0) -gt 2 ]; do sleep "
                    "0.01; done; kill -KILL $pid; wait $pid; printf '{\"attention\": \"mul' >> killed/journal.jsonl");
  Outcome const resumed = shell(folder, "lab " + compare + "killed");
  REQUIRE_MESSAGE(resumed.status == 0, resumed.err);
  CHECK(resumed.err.find(" 0 done") == std::string::npos);
  CHECK(lines("killed") == 7);
  CHECK(comparisons(resumed.out) == expected);
  Outcome const again = shell(folder, "lab " + compare + "killed");
  CHECK(again.err.find("6 done") != std::string::npos);
  CHECK(lines("killed") == 7);

  Outcome const shards = shell(
      folder, "lab " + compare + "one --shard 1/2; lab " + compare +
                  "two --shard 2/2; lab compare --merge one two --symptoms loss,sink --json --out both > both.log");
  REQUIRE_MESSAGE(shards.status == 0, shards.err);
  CHECK(lines("one") == 4);
  CHECK(comparisons(read_file(folder / "both.log")) == expected);

  std::string const before = read_file(folder / "whole/journal.jsonl");
  std::string longer = compare;
  longer.replace(longer.find("--steps 20"), 10, "--steps 30");
  struct Case {
    std::string line;
    char const* says;
  };
  for (Case const& c :
       {Case{"lab " + longer + "whole", "training.steps (30, the journal has 20)"},
        {"lab " + compare + "whole --text text.txt", "both a text and a task"},
        {"lab compare --out new", "nothing to learn"},
        {"lab compare --task mqra --out new", "mqar"},
        {"lab compare --task mqar:pairs=99 --out new", "no room"},
        {"lab compare --task mqar --attention gaetd --out new", "gated"},
        {"lab compare --task mqar --attention gated,gated --out new", "named twice"},
        {"lab compare --task mqar --regularize nothing --out new", "nothing"},
        {"lab compare --task mqar --seeds 0 --out new", "--seeds"},
        {"lab compare --task mqar --learning-rates 0 --out new", "--learning-rates"},
        {"lab compare --task mqar --select best --out new", "--select"},
        {"lab compare --task mqar --symptoms snik --out new", "sink"},
        {"lab compare --task mqar --symptoms distance --out new", "no better side"},
        {"lab compare --task mqar --shard 3/2 --out new", "i/n"},
        {"lab compare --task mqar --steps 1 --out text.txt/new", "text.txt/new"},
        {"lab compare --merge nowhere --out new", "nowhere"},
        {"mkdir -p bad; echo nonsense > bad/journal.jsonl; lab compare --merge bad --out new", "cannot be read"}}) {
    CAPTURE(c.line);
    Outcome const outcome = shell(folder, c.line);
    CHECK(outcome.status == 2);
    CAPTURE(outcome.err);
    CHECK(outcome.err.find(c.says) != std::string::npos);
    CHECK(outcome.err.find("Remedy: ") != std::string::npos);
    CHECK(!std::filesystem::exists(folder / "new"));
  }
  CHECK(read_file(folder / "whole/journal.jsonl") == before);
}

#ifdef HEED_MPIEXEC
TEST_CASE("compare under mpirun: ranks share the runs, one that dies leaves what it did, and the verdict is the same") {
  if (access(HEED_MPIEXEC, X_OK) != 0) return heed::test::skip(HEED_MPIEXEC " is not here (Debian: openmpi-bin)");
  Folder const folder;
  std::string const compare =
      "compare --task mqar:pairs=2,length=8,vocabulary=8 --attention multi-head,sliding:window=1,gated --layers 1 "
      "--heads 2 --dim 16 --steps 20 --batch 8 --evaluation 32 --learning-rates 1e-2,3e-2 --seeds 2 --threads 1 "
      "--symptoms loss,sink --json --out ";
  // Open MPI keeps memory until the process ends, which a leak checker would take for ours.
  std::string const ranks =
      "ASAN_OPTIONS=detect_leaks=0 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout -s KILL "
      "60 " HEED_MPIEXEC " --oversubscribe --bind-to none -n 2 ";
  auto const comparisons = [](std::string const& out) {
    return nlohmann::json::parse(out.substr(out.find("{\n"))).at("comparisons");
  };
  auto const files = [&](std::string const& run) {
    std::set<std::string> names;
    for (auto const& entry : std::filesystem::directory_iterator(folder / run))
      names.insert(entry.path().filename().string());
    return names;
  };
  std::set<std::string> const done{"journal.jsonl", "report.html"};
  Outcome const one = shell(folder, "lab " + compare + "one");
  REQUIRE_MESSAGE(one.status == 0, one.err);
  Outcome const two = shell(folder, ranks + "'" HEED_LAB "' " + compare + "two");
  REQUIRE_MESSAGE(two.status == 0, two.err);
  CHECK(comparisons(two.out) == comparisons(one.out));
  CHECK(two.err.find("= 9 runs of 20 steps on 2 ranks; 0 done") != std::string::npos);
  CHECK(files("two") == done);

  // Rank 1 dies after its first run, and the launcher ends rank 0; one process goes on with what both did.
  shell(folder, ranks + "bash -c 'echo $$ > pid-$OMPI_COMM_WORLD_RANK; exec \"" HEED_LAB "\" " + compare +
                    "killed' & until [ $(wc -l < killed/journal-1.jsonl 2>/dev/null || echo 0) -gt 1 ]; do sleep 0.01; "
                    "done; kill -KILL $(cat pid-1); wait");
  CHECK(files("killed").contains("journal-1.jsonl"));
  Outcome const resumed = shell(folder, "lab " + compare + "killed");
  REQUIRE_MESSAGE(resumed.status == 0, resumed.err);
  CHECK(resumed.err.find(" 0 done") == std::string::npos);
  CHECK(comparisons(resumed.out) == comparisons(one.out));
  CHECK(files("killed") == done);
}
#endif

TEST_CASE("compare: a text, a task of real numbers, and regularisers") {
  Folder const folder;
  std::string const small =
      " --layers 1 --heads 2 --dim 16 --steps 6 --batch 4 --warmup 2 --evaluation 8 --learning-rates 1e-2 --seeds 2 ";
  for (std::string const what : {"--text text.txt --block 16 --regularize none,entropy-bonus",
                                 "--task adding:length=8 --attention multi-head,sliding:window=2"}) {
    CAPTURE(what);
    Outcome const outcome = shell(folder, "lab compare " + what + small + "--out run" + std::to_string(what.size()));
    REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
    CHECK(outcome.out.find("report run") != std::string::npos);
    CHECK(outcome.out.find("comparisons could not be told from chance") != std::string::npos);
  }
}

TEST_CASE("--profile: a trace and a table, and the same bits as without") {
  Folder const folder;
  Outcome const plain = shell(folder, "lab train --preset tiny --text text.txt --out plain --steps 12");
  Outcome const watched =
      shell(folder, "lab train --preset tiny --text text.txt --out watched --steps 12 --profile trace.json");
  CHECK_MESSAGE(watched.status == 0, watched.err);
  for (char const* text : {"GFLOP/s", "linear backward", "blocks.0.attn", "trace trace.json", "validation loss"}) {
    CAPTURE(text);
    CHECK(watched.out.find(text) != std::string::npos);
  }
  std::string const trace = read_file(folder / "trace.json");
  CHECK(trace.starts_with(R"({"displayTimeUnit":"ms","traceEvents":[)"));
  CHECK(trace.find(R"("name":"optimizer step")") != std::string::npos);
  CHECK(read_file(folder / "watched/checkpoint.safetensors") == read_file(folder / "plain/checkpoint.safetensors"));
  // Fewer steps than it would watch.
  Outcome const brief =
      shell(folder, "lab train --preset tiny --text text.txt --out brief --steps 7 --profile brief.json");
  CHECK(brief.out.find("trace brief.json") != std::string::npos);
}

TEST_CASE("--help teaches: every option has its default") {
  Folder const folder;
  Outcome const help = shell(folder, "lab train --preset nanogpt-cpu --help");
  CHECK(help.status == 0);
  for (char const* text : {"--learning-rate", "=0.001", "--block", "=64", "--steps", "=2000", "Example:"}) {
    CAPTURE(text);
    CHECK(help.out.find(text) != std::string::npos);
  }
}
#else
TEST_CASE("heed-lab") { heed::test::skip("built without the examples"); }
#endif
