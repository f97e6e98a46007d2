// Compiled recipes by profile and model: compiling one reads and digests JSON, which costs more than a small publish.
#ifndef DECANT_SERVICES_POOL_RECIPE_CACHE_H_
#define DECANT_SERVICES_POOL_RECIPE_CACHE_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status_macros.h"
#include "common/compress/profile.h"
#include "common/compress/recipe.h"
#include "services/pool/pool_messages.h"

namespace decant {

// Thread-safe. `catalogue` must outlive it and never change.
class RecipeCache {
 public:
  explicit RecipeCache(const Catalogue& catalogue) : catalogue_(catalogue) {}

  // INVALID_ARGUMENT for a profile that the catalogue does not have, errors of Compile.
  absl::StatusOr<Recipe> Find(const std::string& profile, const PoolModel& model) {
    const Geometry& g = model.geometry;
    const std::string key = absl::StrCat(model.fingerprint.Hex(), " ", g.layers, " ", g.q_heads, " ", g.kv_heads, " ",
                                         g.head_dim, " ", static_cast<int>(model.run_type), " ", profile);
    {
      absl::MutexLock lock(&mutex_);
      if (const auto found = recipes_.find(key); found != recipes_.end()) return found->second;
    }
    const absl::StatusOr<Profile> known = catalogue_.FindFor(profile, model.fingerprint);
    if (!known.ok()) return absl::InvalidArgumentError(known.status().message());
    DECANT_ASSIGN_OR_RETURN(Recipe recipe, Compile(*known, g, model.run_type));
    absl::MutexLock lock(&mutex_);
    if (recipes_.size() >= kMost) recipes_.clear();
    recipes_.emplace(key, recipe);
    return recipe;
  }

 private:
  static constexpr size_t kMost = 256;  // geometries come from outside

  const Catalogue& catalogue_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Recipe> recipes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_RECIPE_CACHE_H_
