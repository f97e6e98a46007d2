// The words that decant-tiny knows: deploy/models/training/worlds.py has the same lists.
#ifndef DECANT_SERVICES_LAB_WORDS_H_
#define DECANT_SERVICES_LAB_WORDS_H_

#include "absl/strings/string_view.h"

namespace decant {

inline constexpr absl::string_view kNames[] = {
    "Alice",  "Bruno",  "Clara",  "Dario", "Elena",  "Felix", "Greta",  "Hugo",   "Irene",  "Jonas",  "Karin",
    "Leon",   "Marta",  "Nils",   "Olga",  "Pavel",  "Quinn", "Rosa",   "Simon",  "Tilda",  "Ulrich", "Vera",
    "Walter", "Xenia",  "Yusuf",  "Zoe",   "Amir",   "Bella", "Carlos", "Dora",   "Edgar",  "Fiona",  "Gustav",
    "Hana",   "Ivan",   "Julia",  "Kofi",  "Lena",   "Marco", "Nadia",  "Oscar",  "Petra",  "Rafael", "Sonja",
    "Tariq",  "Ursula", "Viktor", "Wanda", "Ximena", "Yara",  "Zeno",   "Anton",  "Birgit", "Cedric", "Delia",
    "Emil",   "Frida",  "Georg",  "Helga", "Igor",   "Jana",  "Klaus",  "Livia",  "Milan",  "Nora",   "Otto",
    "Paula",  "Remy",   "Silke",  "Timo",  "Uma",    "Vito",  "Wilma",  "Yannis", "Zara"};
inline constexpr absl::string_view kThings[] = {
    "lamp",    "chair",   "kettle", "violin",  "bottle", "carpet",   "mirror", "pencil", "basket", "hammer",   "ladder",
    "blanket", "compass", "candle", "drawer",  "engine", "feather",  "garden", "helmet", "island", "jacket",   "kitten",
    "lemon",   "magnet",  "needle", "orange",  "pillow", "quilt",    "ribbon", "saddle", "ticket", "umbrella", "valley",
    "wagon",   "yacht",   "zipper", "anchor",  "bucket", "camera",   "dagger", "easel",  "flask",  "guitar",   "harp",
    "inkwell", "jewel",   "kite",   "lantern", "mask",   "notebook", "oar",    "parcel", "rake",   "scarf",    "table",
    "urn",     "vase",    "wheel",  "axe",     "bell",   "coin",     "drum",   "egg",    "fan",    "gate",     "hat",
    "ice",     "jar",     "key",    "leaf",    "map",    "net",      "owl",    "pin",    "ring",   "shell",    "tower"};
inline constexpr absl::string_view kPlaces[] = {
    "kitchen", "garden", "library", "station", "harbor", "market",   "office", "attic",   "cellar", "museum",
    "theater", "bakery", "forest",  "bridge",  "school", "hospital", "castle", "village", "meadow", "tunnel"};
inline constexpr absl::string_view kColors[] = {"red",   "blue",   "green",  "yellow", "black",
                                                "white", "silver", "golden", "purple", "brown"};
inline constexpr absl::string_view kVerbs[] = {"found",    "painted",  "carried", "sold",    "repaired",
                                               "borrowed", "polished", "hid",     "cleaned", "measured"};
inline constexpr absl::string_view kAdjectives[] = {"old",     "quiet",  "heavy",  "small",   "bright",
                                                    "strange", "broken", "warm",   "tall",    "empty",
                                                    "narrow",  "gentle", "famous", "distant", "simple"};
inline constexpr absl::string_view kSyllables[] = {"ba", "de", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu",
                                                   "va", "ze", "fo", "gi", "hu", "ja", "ke", "lu", "mi", "no"};

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_WORDS_H_
