// Filler prose and the scattering of facts in it, for the generators of tasks.
#ifndef DECANT_SERVICES_LAB_PROSE_H_
#define DECANT_SERVICES_LAB_PROSE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "services/lab/draws.h"

namespace decant {

// One sentence that says nothing about anybody's code, partner or place, with a trailing space.
std::string FillerSentence(Draws& draw);
// Five decimal digits.
std::string FiveDigits(Draws& draw);
// An invented word of two or three syllables.
std::string InventedWord(Draws& draw);
// The facts (sentences with a trailing space) at random places in filler of about `tokens` tokens in all.
std::string Scatter(Draws& draw, std::vector<std::string> facts, int32_t tokens);
// `text` without spaces at its end: a question begins with its own.
std::string WithoutTrailingSpace(std::string text);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_PROSE_H_
