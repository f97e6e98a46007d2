#ifndef DECANT_SERVICES_CLI_HELD_OUT_TEXT_H_
#define DECANT_SERVICES_CLI_HELD_OUT_TEXT_H_

#include <cstdint>
#include <string>

namespace decant {

// Prose of about `words` words with codes of people scattered in it, and a question about one of them at the end: the
// "recall" task of deploy/models/training/worlds.py, which decant-tiny was trained on, with draws of its own. The same
// seed gives the same text.
std::string HeldOutText(uint64_t seed, int32_t words);

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_HELD_OUT_TEXT_H_
