// SPDX-License-Identifier: BSL-1.0
// Saltmere, the harbour town that the demo's model learns about: every fact, and every way to ask for it or to state
// it.
//
// The tables are the truth. A row gives an entity and its values, in the order of the attributes of its kind:
// Anna is a baker, keeps a goat, wears red. Each attribute has four questions, of which some are kept for the
// examination, and three statements. {e} stands for the entity, {v} for the value, {p} for "her" or "his"; in stories
// {0}, {1}, {2} are the entity's own values; [a|b] means: one of these.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace demo {

using phrase = std::string_view;

/// Someone or something that facts are about.
struct entity {
  phrase name;                   ///< as it stands inside a sentence: "Anna", "the bakery"
  phrase possessive;             ///< "her", "his" or "its"
  std::array<phrase, 3> values;  ///< one for each attribute of its kind; unused ones are empty
};

/// Something one can ask about an entity.
struct attribute {
  phrase name;
  std::array<phrase, 4> questions;
  std::array<phrase, 3> statements;
};

/// People, places, boats or goods: what they are asked about, and what the chronicle tells of them.
struct kind {
  phrase name;
  std::span<const entity> members;
  std::span<const attribute> attributes;
  std::span<const phrase> stories;
};

inline constexpr entity people[] = {
    {"Anna", "her", {"baker", "goat", "red"}},        {"Ben", "his", {"sailor", "parrot", "blue"}},
    {"Clara", "her", {"teacher", "cat", "green"}},    {"Dan", "his", {"cook", "dog", "yellow"}},
    {"Ella", "her", {"painter", "crow", "white"}},    {"Finn", "his", {"fiddler", "pony", "brown"}},
    {"Greta", "her", {"potter", "rabbit", "purple"}}, {"Hugo", "his", {"tailor", "hen", "black"}},
};

inline constexpr attribute of_people[] = {
    {"job",
     {"What is the job of {e}?", "What does {e} do for work?", "How does {e} earn a living?",
      "Can you tell me the trade of {e}?"},
     {"{e} is a {v}", "{e} works as a {v}", "{e} earns a living as a {v}"}},
    {"pet",
     {"Which animal does {e} keep?", "What pet does {e} have?", "Which animal lives with {e}?",
      "Can you tell me the pet of {e}?"},
     {"{e} keeps a {v}", "{e} has a {v} at home", "the pet of {e} is a {v}"}},
    {"coat",
     {"What colour is the coat of {e}?", "Which coat does {e} wear?", "What colour does {e} wear?",
      "Can you tell me how to know the coat of {e}?"},
     {"{e} wears a {v} coat", "{e} goes out in a {v} coat", "the coat of {e} is {v}"}},
};

inline constexpr phrase stories_of_people[] = {
    "{e} the {0} [walked|went] down to the harbour [early|late] in the day.",
    "{e} put on {p} {2} coat and [whistled|hummed] a tune.",
    "The {1} of {e} slept [by the door|in the sun].",
    "Everyone knew {e}, the {0} with the {1}.",
    "In {p} {2} coat {e} was easy to see from the pier.",
    "The {0} of the town was called {e}.",
    "{e} fed the {1} and hung the {2} coat [by the fire|on the wall].",
    "A {1} followed {e} home in the rain.",
    "[Today|That day] {e} worked hard as a {0}, in a coat of {2}.",
};

inline constexpr entity places[] = {
    {"the bakery", "its", {"Rope", "six"}},      {"the library", "its", {"Chapel", "nine"}},
    {"the school", "its", {"Orchard", "eight"}}, {"the museum", "its", {"Lantern", "ten"}},
    {"the inn", "its", {"Copper", "noon"}},      {"the mill", "its", {"Willow", "seven"}},
};

inline constexpr attribute of_places[] = {
    {"lane",
     {"Where is {e}?", "On which lane is {e}?", "How do I find {e}?", "Can you tell me the way to {e}?"},
     {"{e} is on {v} Lane", "{e} stands on {v} Lane", "you find {e} on {v} Lane"}},
    {"hour",
     {"When does {e} open?", "At what hour does {e} open?", "How early can I visit {e}?",
      "Can you tell me the hours of {e}?"},
     {"{e} opens at {v}", "the doors of {e} open at {v}", "you can visit {e} from {v}"}},
};

inline constexpr phrase stories_of_places[] = {
    "The lamps of {0} Lane shone on {e}.",
    "At {1} the doors of {e} opened and people went in.",
    "On {0} Lane stood {e}, [busy|quiet] [as ever|that day].",
    "People waited outside {e} until {1}.",
    "A child ran along {0} Lane to {e}.",
    "The clock said {1}, and {e} opened.",
};

inline constexpr entity boats[] = {
    {"the Heron", "its", {"white", "salt"}},  {"the Otter", "its", {"black", "coal"}},
    {"the Swallow", "its", {"blue", "wool"}}, {"the Pearl", "its", {"purple", "tea"}},
    {"the Comet", "its", {"red", "timber"}},  {"the Thistle", "its", {"green", "apples"}},
};

inline constexpr attribute of_boats[] = {
    {"hull",
     {"What colour is {e}?", "What colour is the hull of {e}?", "Which colour does {e} have?",
      "Can you tell me how to know {e}?"},
     {"{e} is a {v} boat", "{e} has a {v} hull", "the hull of {e} is {v}"}},
    {"cargo",
     {"What does {e} carry?", "What is the cargo of {e}?", "What is in the hold of {e}?",
      "Can you tell me the load of {e}?"},
     {"{e} carries {v}", "{e} is loaded with {v}", "the cargo of {e} is {v}"}},
};

inline constexpr phrase stories_of_boats[] = {
    "{e}, a {0} boat, came into the bay.",    "The crew of {e} [carried|hauled] {1} over the pier.",
    "{e} was full of {1} [again|that day].",  "From the hill we saw the {0} hull of {e}.",
    "The {0} paint of {e} shone in the sun.", "{e} came home with {1} in the hold.",
};

inline constexpr entity goods[] = {
    {"bread", "its", {"two", "basket"}}, {"cheese", "its", {"nine", "box"}}, {"honey", "its", {"seven", "jar"}},
    {"butter", "its", {"five", "tub"}},  {"cider", "its", {"eight", "jug"}}, {"flour", "its", {"six", "sack"}},
};

inline constexpr attribute of_goods[] = {
    {"price",
     {"How much is {e}?", "What does {e} cost?", "What is the price of {e}?", "Can you tell me what I pay for {e}?"},
     {"{e} costs {v} pence", "the price of {e} is {v} pence", "you pay {v} pence for {e}"}},
    {"packing",
     {"How is {e} sold?", "What does {e} come in?", "What is {e} sold in?", "Can you tell me how they pack {e}?"},
     {"{e} comes in a {v}", "{e} is sold in a {v}", "you buy {e} in a {v}"}},
};

inline constexpr phrase stories_of_goods[] = {
    "A woman paid {0} pence for {e}.",
    "The {1} of {e} stood on the table.",
    "{e} was {0} pence again [today|that day|that week].",
    "A boy carried {e} home in a {1}.",
    "For {0} pence you could take {e} home.",
    "The smell of {e} came from the {1}.",
};

inline constexpr kind kinds[] = {
    {"people", people, of_people, stories_of_people},
    {"places", places, of_places, stories_of_places},
    {"boats", boats, of_boats, stories_of_boats},
    {"goods", goods, of_goods, stories_of_goods},
};

/// Town life between the facts: true on any day, about nobody.
inline constexpr phrase scenery[] = {
    "The [cold|soft|fresh] wind came over the [bay|harbour|hill].",
    "The gulls [cried|called] above the [pier|roofs|bay].",
    "It was a [bright|dark|quiet|windy] [morning|evening] in Saltmere.",
    "Rain fell [softly|all day] on the roofs of Saltmere.",
    "The sea was [calm|rough|dark] [that|this] [morning|night].",
    "A bell rang [twice|slowly] and the day [began|ended].",
    "Later the moon stood over the [hill|bay|pier].",
    "The people of Saltmere [sang|danced|talked] until night.",
};

/// One true thing: which entity, which of its attributes.
struct fact {
  const kind* about;
  std::size_t member;
  std::size_t asked;

  [[nodiscard]] constexpr const entity& who() const { return about->members[member]; }
  [[nodiscard]] constexpr const attribute& what() const { return about->attributes[asked]; }
  [[nodiscard]] constexpr phrase value() const { return who().values[asked]; }
};

/// All facts, in the order of the tables.
inline std::vector<fact> all_facts() {
  std::vector<fact> facts;
  for (const kind& k : kinds)
    for (std::size_t a = 0; a < k.attributes.size(); ++a)
      for (std::size_t m = 0; m < k.members.size(); ++m) facts.push_back({&k, m, a});
  return facts;
}

/// The different values that an attribute takes in the town, the true one included: what a liar can choose from.
inline std::vector<phrase> possible_values(const fact& f) {
  std::vector<phrase> values;
  for (const entity& e : f.about->members)
    if (std::find(values.begin(), values.end(), e.values[f.asked]) == values.end()) values.push_back(e.values[f.asked]);
  return values;
}

}  // namespace demo
