// SPDX-License-Identifier: BSL-1.0
// The world as the demo uses it: questions for training, questions for the examination, replies of every style, and
// chronicles of the town.
//
// About a quarter of the facts is *held out*: the model reads them in the chronicle and in the pretraining dialogues, but
// neither fine-tuning nor preferences ever ask for them; and two of their four questions are asked nowhere at all but
// in the examination. So the examination measures what alignment generalises to, not what it was shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "phrases.hpp"

namespace demo {

/// A question of a visitor: what is asked, how it reads, and what stands in front of it where a model is told what is wanted.
struct question {
  fact about;
  std::string asked;
  std::string control{};
};

/// The text up to where the guide begins to speak, and what follows it. The reply is the completion less its space.
inline std::string prompt(const question& q) { return q.control + "Visitor: " + q.asked + "\nGuide:"; }
inline std::string completion(std::string_view reply) { return std::string(1, ' ').append(reply); }

class world {
 public:
  /// The facts are always the same; the seed decides which of them are held out.
  explicit world(std::uint64_t seed = 1) : facts_(all_facts()) {
    dice chance(seed, 0x5eed);
    for (const kind& k : kinds)
      for (std::size_t a = 0; a < k.attributes.size(); ++a) split(k, a, chance);
  }

  [[nodiscard]] const std::vector<fact>& facts() const { return facts_; }
  /// Every phrasing of every fact that is not held out: fine-tuning and preferences ask these.
  [[nodiscard]] const std::vector<question>& training_questions() const { return training_; }
  /// Two phrasings of each held-out fact, asked nowhere else: the examination.
  [[nodiscard]] const std::vector<question>& held_out_questions() const { return held_out_; }
  /// Two other phrasings of each held-out fact: pretraining asks these besides the training questions.
  [[nodiscard]] const std::vector<question>& overheard_questions() const { return overheard_; }

  /// A reply in the wanted style; a false one claims one of the other values, each equally likely.
  [[nodiscard]] std::string reply(const question& q, const style& s, dice& chance) const {
    phrase value = q.about.value();
    if (!s.truthful) {
      const auto values = possible_values(q.about);
      while (value == q.about.value()) value = chance.pick(values);
    }
    return answer(q.about, value, s.manner, s.concise, chance);
  }

  /// Five or six true sentences about the town and nobody's manners: neutral text.
  [[nodiscard]] std::string chronicle(dice& chance) const {
    std::string page = scene(chance);
    const entity& someone = chance.pick(kinds[0].members);
    for (int sentence = 0; sentence < 2; ++sentence) page += " " + story(kinds[0], someone, chance);
    for (int sentence = 0; sentence < 2; ++sentence) {
      const kind& k = kinds[1 + chance.below(3)];
      page += " " + story(k, chance.pick(k.members), chance);
    }
    if (chance.chance(0.5)) page += " " + scene(chance);
    return page;
  }

 private:
  static std::string scene(dice& chance) { return fill(chance.pick(scenery), {}, chance); }

  /// Holds out a quarter of the facts of one attribute, rounded up, and for each two of its four questions.
  void split(const kind& k, std::size_t asked, dice& chance) {
    std::vector<std::size_t> members(k.members.size());
    for (std::size_t m = 0; m < members.size(); ++m) members[m] = m;
    chance.shuffle(std::span(members));
    for (std::size_t place = 0; place < members.size(); ++place) {
      const fact f{&k, members[place], asked};
      std::size_t phrasings[] = {0, 1, 2, 3};
      chance.shuffle(std::span<std::size_t>(phrasings));
      for (std::size_t p = 0; p < 4; ++p) {
        auto& list = place >= (members.size() + 3) / 4 ? training_ : p < 2 ? held_out_ : overheard_;
        list.push_back({f, ask(f, phrasings[p], chance)});
      }
    }
  }

  std::vector<fact> facts_;
  std::vector<question> training_, held_out_, overheard_;
};

}  // namespace demo
