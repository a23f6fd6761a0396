// SPDX-License-Identifier: BSL-1.0
// The demo: a model is pretrained on the talk of a small town, imitates demonstrations, answers questions, has an oracle
// rank its answers, and learns from the ranking with DPO. Every step goes through plumb's public functions.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <plumb/plumb.hpp>
#include <plumb/train/metrics_log.hpp>

#include "contest.hpp"
#include "results.hpp"
#include "reward_models.hpp"

namespace {

using B = plumb::cpu;
using plumb::join;
using model_type = plumb::language_model<B>;
using policy_type = plumb::policy<B>;

/// The knobs. `--quick` shrinks the counts so that the tests can walk the same way in seconds.
struct settings {
  std::filesystem::path out = "demo-out";  ///< report, model, adapter and logs go here
  std::uint64_t seed = 1;                  ///< of everything random
  int threads = 0;                         ///< 0: all cores
  plumb::index_t vocabulary = 1024;        ///< tokens: nearly every word of the town is one
  plumb::index_t width = 128, layers = 4;  ///< of the model: 0.9 million parameters
  std::size_t documents = 17000;           ///< texts to pretrain on
  double pretrain_rate = 2.5e-3;           ///< peak learning rate of pretraining
  std::size_t demonstrations = 2000;       ///< replies to imitate: true ones, of every manner
  double sft_rate = 5e-4;                  ///< of imitation
  plumb::index_t replies = 64;             ///< of the SFT model to each training question, for the oracle to rank
  plumb::index_t group = 8;                ///< best and worst of so many replies make a pair
  double dpo_rate = 5e-4;                  ///< of the adapter
  double dpo_epochs = 1;                   ///< passes over the pairs
  double beta = 0.1;                       ///< how strongly DPO holds on to the SFT model
  plumb::index_t rank = 16;                ///< of the adapter
  std::size_t neutral = 300;               ///< texts to measure the alignment tax on
  demo::exam_rules rules;                  ///< how the examination is held, the same for every model
  bool all = false;                        ///< instead of DPO alone, every objective from the same start
  std::vector<std::string> only;           ///< of those, the named ones

  void make_quick() {
    documents = 240, demonstrations = 64, replies = 8, neutral = 20, width = 64, layers = 2;
    rules.samples = 2, rules.longest = 24;
  }
};

constexpr const char* usage =
    "usage: demo [--out DIR] [--seed N] [--threads N] [--quick] [--all | --only OBJECTIVE ..]\n";

/// What `--option value` says; an unknown option ends the program with code 2.
settings read_arguments(int count, char** arguments) {
  settings s;
  const auto wrong = [](std::string_view what) {
    std::fprintf(stderr, "demo: %s\n%s", std::string(what).c_str(), usage);
    std::exit(2);
  };
  for (int i = 1; i < count; ++i) {
    const std::string_view option = arguments[i];
    if (option == "--help") {
      std::fputs(usage, stdout);
      std::exit(0);
    }
    if (option == "--quick") {
      s.make_quick();
      continue;
    }
    if (option == "--all") {
      s.all = true;
      continue;
    }
    if (option == "--only") {
      for (s.all = true; i + 1 < count && arguments[i + 1][0] != '-';) s.only.emplace_back(arguments[++i]);
      for (const std::string& name : s.only)
        if (const auto called = [&](const demo::contender& c) { return c.name == name; };
            std::none_of(std::begin(demo::all_contenders), std::end(demo::all_contenders), called) &&
            std::none_of(std::begin(demo::all_reward_models), std::end(demo::all_reward_models), called))
          wrong(join("no contender is called ", name));
      if (s.only.empty()) wrong("--only needs the name of an objective");
      continue;
    }
    if (option != "--out" && option != "--seed" && option != "--threads") wrong(join("unknown option ", option));
    if (i + 1 == count) wrong(join(option, " needs a value"));
    const std::string_view value = arguments[++i];
    if (option == "--out") {
      s.out = value;
    } else {
      std::uint32_t number = 0;
      const auto [end, status] = std::from_chars(value.data(), value.data() + value.size(), number);
      if (status != std::errc() || end != value.data() + value.size() || number > 1000000)
        wrong(join(option, " needs a number, found ", value));
      if (option == "--seed")
        s.seed = number;
      else
        s.threads = static_cast<int>(number);
    }
  }
  return s;
}

plumb::model_config shape_of(const settings& s, plumb::index_t vocabulary) {
  plumb::model_config c;
  c.hidden_size = s.width, c.intermediate_size = 3 * s.width, c.layers = s.layers;
  c.heads = 4, c.kv_heads = 2, c.head_width = s.width / 4;
  c.vocabulary = vocabulary, c.max_positions = 128, c.tied_head = true, c.eos = {0};
  return c;
}

plumb::fit_options options_of(const settings& s, double rate, plumb::index_t batch, double epochs) {
  plumb::fit_options o;
  o.rate = rate, o.batch = batch, o.epochs = epochs, o.seed = s.seed, o.max_tokens = 128;
  o.schedule = plumb::schedule::kind::cosine, o.warmup = 0.03;
  return o;
}

/// The SFT model answers the training questions; the oracle ranks each few answers.
std::vector<demo::ranked_answers> own_answers(const settings& s, const policy_type& sft, const demo::world& town,
                                              const demo::oracle& judge) {
  const auto& questions = town.training_questions();
  auto rules = s.rules;
  rules.seed = s.seed + 1000;
  const auto answers = demo::replies_to(sft, judge, questions, rules, 1.0, s.replies);
  std::vector<demo::ranked_answers> groups;
  for (std::size_t q = 0; q < questions.size(); ++q)
    for (std::size_t first = 0; first < answers[q].size(); first += static_cast<std::size_t>(s.group)) {
      demo::ranked_answers few{questions[q], {}};
      for (std::size_t i = first; i < std::min(answers[q].size(), first + static_cast<std::size_t>(s.group)); ++i)
        few.replies.push_back(answers[q][i]);
      std::stable_sort(few.replies.begin(), few.replies.end(),
                       [](const auto& a, const auto& b) { return a.marks.total() > b.marks.total(); });
      groups.push_back(std::move(few));
    }
  return groups;
}

/// The best and the worst of each group become a pair.
std::vector<demo::preference> own_preferences(const std::vector<demo::ranked_answers>& groups,
                                              const demo::oracle& judge) {
  std::vector<demo::preference> pairs;
  for (const auto& group : groups) {
    std::vector<std::string> few;
    for (const auto& r : group.replies) few.push_back(r.text);
    if (auto pair = demo::best_and_worst(judge, group.asked, few)) pairs.push_back(std::move(*pair));
  }
  return pairs;
}

/// Trains stage after stage; keeps the log, the curves and the time of all of them.
class course {
 public:
  explicit course(const std::filesystem::path& log) : file_(log) {}

  template <class Objective>
  void train(std::string stage, policy_type& p, const Objective& method, std::vector<plumb::example> rows,
             const plumb::fit_options& o) {
    stage_ = std::move(stage);
    const auto result = plumb::fit(p, method, std::move(rows), o, *this, plumb::progress_bar{stdout, 100});
    seconds += result.seconds;
    tokens += result.tokens;
  }
  /// Called by `fit`. Of the stages before DPO the curves keep the loss alone, under the stage's name.
  void on_log(plumb::log_entry entry) {
    if (stage_ != "dpo") entry.values = {{stage_ + "/loss", entry.find("loss").value_or(0)}};
    file_.append(entry);
    curves.push_back(std::move(entry));
  }

  std::vector<plumb::log_entry> curves;
  double seconds = 0, tokens = 0;

 private:
  plumb::jsonl_log file_;
  std::string stage_;
};

void describe_run(plumb::report& r, const settings& s, const course& lessons, std::size_t pairs, int threads) {
  r.configuration = {{"objective", "dpo"},
                     {"beta", join(s.beta)},
                     {"rate", join(s.dpo_rate)},
                     {"epochs", join(s.dpo_epochs)},
                     {"rank", join(s.rank)},
                     {"pairs", join(pairs)},
                     {"documents", join(s.documents)},
                     {"demonstrations", join(s.demonstrations)},
                     {"seed", join(s.seed)}};
  r.machine = plumb::describe_environment("cpu", threads);
  r.finished = plumb::utc_time();
  r.log = lessons.curves, r.seconds = lessons.seconds, r.tokens = lessons.tokens;
}

int run(const settings& s) {
  const demo::screen out;
  const auto started = plumb::utc_time();
  const auto clock = std::chrono::steady_clock::now();
  std::filesystem::create_directories(s.out);
  std::filesystem::remove(s.out / "log.jsonl");
  course lessons(s.out / "log.jsonl");
  demo::results results;

  const demo::world town(s.seed);
  const demo::oracle judge;
  const auto& questions = town.held_out_questions();
  const auto neutral = demo::neutral_documents(town, s.neutral, s.seed + 7);
  const auto examine = [&](const policy_type& p) { return demo::examine(p, judge, questions, neutral, s.rules); };

  out.heading("1  Pretraining", "a harbour town talks: true and false, polite and rude, concise and rambling");
  const auto documents = demo::pretraining_documents(town, s.documents, s.seed);
  const auto words = demo::learn_tokenizer(documents, s.vocabulary);
  const auto model = plumb::make_model<B>(shape_of(s, words.size()), words, {.seed = s.seed}, {.threads = s.threads});
  out.note(join(demo::grouped(static_cast<plumb::index_t>(documents.size())), " documents; a Llama of ",
                demo::grouped(model.parameter_count()), " parameters, ", demo::grouped(words.size()), " tokens"));
  auto student = plumb::train_all(model);
  auto o = options_of(s, s.pretrain_rate, 10, 1);
  o.beta2 = 0.98, o.log_every = 50;
  lessons.train("pretraining", student, plumb::sft{}, demo::whole_texts(words, documents), o);
  results.pretrained = examine(student);

  out.heading("2  SFT", "imitating demonstrations: always true, of every manner");
  o = options_of(s, s.sft_rate, 32, 1);
  o.log_every = 1;
  const auto demonstrations = demo::demonstrations(town, s.demonstrations, s.seed);
  lessons.train("sft", student, plumb::sft{}, demo::rows(words, demonstrations), o);
  results.sft = examine(student);
  plumb::save_model(model, s.out / "model");

  out.heading("3  Preferences", "the SFT model answers; the oracle ranks its answers");
  const auto answers = own_answers(s, student, town, judge);
  const auto pairs = own_preferences(answers, judge);
  out.note(join(demo::grouped(static_cast<plumb::index_t>(pairs.size())), " pairs of its own replies to ",
                town.training_questions().size(), " questions"));
  if (pairs.empty())
    throw plumb::error(plumb::errc::bad_data, "preferences", "the oracle saw no difference between any two replies");

  if (s.all) {
    out.heading("4  Every objective", "each with a LoRA adapter of its own on the same SFT model");
    const demo::contest_rules rules{s.dpo_rate, s.dpo_epochs, s.rank, 16, s.seed, s.rules, s.out};
    const auto contest =
        demo::hold_contest(model, answers, demonstrations, judge, questions, neutral, results.sft, rules, s.only);
    const auto judges = demo::hold_reward_contest(model, answers, judge, questions, results.sft, rules, s.only);
    const std::string in = join("In ", s.out.string(), ": ");
    if (!contest.empty()) {
      out.heading("Result", "wins of greedy and of sampled replies (temperature 1) against SFT");
      demo::show_contest(contest, results.sft, rules);
      out.note(join(in, "contest.md and contest_online.md (this table), contest.svg (wins against KL), curves/"));
    }
    if (!judges.empty()) {
      out.heading("Reward models", "how each ranks the sampled replies of SFT, against how the oracle does");
      demo::show_reward_models(judges, results.sft, rules);
      out.note(join(in, "contest_rewards.md (this table), curves/"));
    }
    return 0;
  }

  out.heading("4  DPO", "a LoRA adapter on the SFT model, which with the adapter off is the reference");
  auto aligned = plumb::attach_lora(model, {.rank = s.rank, .seed = s.seed});
  o = options_of(s, s.dpo_rate, 16, s.dpo_epochs);
  o.log_every = 1, o.warmup = 0.1;
  lessons.train("dpo", aligned, plumb::dpo{.beta = s.beta}, demo::rows(words, pairs), o);
  results.dpo = examine(aligned);
  results.kl = demo::divergence(aligned, questions, results.dpo);
  plumb::save_adapter(aligned, s.out / "adapter");

  out.heading("Result", join(questions.size(), " held-out questions, one greedy reply and ", s.rules.samples,
                             " sampled replies (temperature ", s.rules.temperature, ") each"));
  demo::print_table(out, results);
  out.heading("Before and after", "greedy replies to questions never asked in training; SFT left, DPO right");
  demo::print_replies(out, questions, results, 4);

  auto report = demo::report_of(questions, results);
  report.started = started;
  describe_run(report, s, lessons, pairs.size(), model.device()->threads());
  plumb::write_report(s.out / "report.html", report);
  const double all = std::chrono::duration<double>(std::chrono::steady_clock::now() - clock).count();
  out.line();
  out.note(join("Training took ", demo::fixed(lessons.seconds, 0), " s of ", demo::fixed(all, 0), " s in all. In ",
                s.out.string(),
                ": report.html (curves, table, replies), model/ (a Hugging Face folder), adapter/ (PEFT), log.jsonl"));
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(read_arguments(count, arguments));
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "demo: %s\n", problem.what());
    return 1;
  }
}
