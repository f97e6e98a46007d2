#include "common/model/rope.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The settings of both spellings in one place.
struct RopeSettings {
  JsonFields fields;  // rope_scaling, rope_parameters or, where both are absent, config.json itself
  std::string type;
  double theta;
  double original_positions;
};

absl::Status OutOfRange(const RopeSettings& settings, absl::string_view name, double value, absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat(settings.fields.where(), ": ", name, " is ", value, " but must be ",
                                                 wanted, "; mend the rope settings of this file"));
}

absl::StatusOr<RopeSettings> ReadSettings(const JsonFields& config, int32_t max_positions) {
  const auto filled = [&](const char* name) { return config.Has(name) && !config.json().find(name)->empty(); };
  const char* const found =
      filled("rope_scaling") ? "rope_scaling" : (filled("rope_parameters") ? "rope_parameters" : nullptr);
  RopeSettings settings{config, "default", 10000.0, static_cast<double>(max_positions)};
  if (found != nullptr) {
    DECANT_ASSIGN_OR_RETURN(settings.fields, config.Object(found));
    DECANT_ASSIGN_OR_RETURN(const std::string old_name, settings.fields.StringOr("type", "default"));
    DECANT_ASSIGN_OR_RETURN(settings.type, settings.fields.StringOr("rope_type", old_name));
  }
  for (const char* per_layer : {"full_attention", "sliding_attention"}) {
    if (settings.fields.Has(per_layer)) {
      return absl::UnimplementedError(absl::StrCat(settings.fields.where(), " has settings per kind of layer (",
                                                   per_layer, "); decant computes one rope for all layers"));
    }
  }
  DECANT_ASSIGN_OR_RETURN(const double outer_theta, config.NumberOr("rope_theta", 10000.0));
  DECANT_ASSIGN_OR_RETURN(settings.theta, settings.fields.NumberOr("rope_theta", outer_theta));
  DECANT_ASSIGN_OR_RETURN(settings.original_positions,
                          settings.fields.NumberOr("original_max_position_embeddings", max_positions));
  // A value beside the settings wins over the one inside.
  DECANT_ASSIGN_OR_RETURN(settings.original_positions,
                          config.NumberOr("original_max_position_embeddings", settings.original_positions));
  DECANT_ASSIGN_OR_RETURN(const double outer_part, config.NumberOr("partial_rotary_factor", 1.0));
  DECANT_ASSIGN_OR_RETURN(const double part, settings.fields.NumberOr("partial_rotary_factor", outer_part));
  if (part != 1.0) {
    return absl::UnimplementedError(
        absl::StrCat(config.where(), ": partial_rotary_factor is ", part, "; decant rotates whole heads only (1.0)"));
  }
  if (!(settings.theta > 1.0)) return OutOfRange(settings, "rope_theta", settings.theta, "above 1");
  if (!(settings.original_positions >= 1.0)) {
    return OutOfRange(settings, "original_max_position_embeddings", settings.original_positions, "at least 1");
  }
  return settings;
}

absl::StatusOr<double> PositiveNumber(const RopeSettings& settings, const char* name) {
  DECANT_ASSIGN_OR_RETURN(const double value, settings.fields.Number(name));
  if (!(value > 0.0)) return OutOfRange(settings, name, value, "above 0");
  return value;
}

std::vector<float> PlainFrequencies(double theta, int32_t head_dim) {
  std::vector<float> frequencies(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequencies[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return frequencies;
}

absl::Status ScaleLinear(const RopeSettings& settings, Rope& rope) {
  DECANT_ASSIGN_OR_RETURN(const double factor, PositiveNumber(settings, "factor"));
  for (float& f : rope.inverse_frequencies) f /= static_cast<float>(factor);
  return absl::OkStatus();
}

// Long waves are slowed by `factor`, short ones stay, those between are blended.
absl::Status ScaleLlama3(const RopeSettings& settings, Rope& rope) {
  DECANT_ASSIGN_OR_RETURN(const double factor, PositiveNumber(settings, "factor"));
  DECANT_ASSIGN_OR_RETURN(const double low, PositiveNumber(settings, "low_freq_factor"));
  DECANT_ASSIGN_OR_RETURN(const double high, PositiveNumber(settings, "high_freq_factor"));
  if (!(high > low)) return OutOfRange(settings, "high_freq_factor", high, absl::StrCat("above low_freq_factor ", low));
  for (float& f : rope.inverse_frequencies) {
    const double wave = 2.0 * kPi / f;
    if (wave < settings.original_positions / high) continue;
    if (wave > settings.original_positions / low) {
      f = static_cast<float>(f / factor);
    } else {
      const double smooth = (settings.original_positions / wave - low) / (high - low);
      f = static_cast<float>((1.0 - smooth) * f / factor + smooth * f);
    }
  }
  return absl::OkStatus();
}

// YaRN's m(s): how much attention sharpens with the stretch.
double YarnMagnitude(double scale, double weight) { return scale <= 1.0 ? 1.0 : 0.1 * weight * std::log(scale) + 1.0; }

absl::StatusOr<double> YarnAttentionFactor(const RopeSettings& settings, double factor) {
  if (settings.fields.Has("attention_factor")) return PositiveNumber(settings, "attention_factor");
  DECANT_ASSIGN_OR_RETURN(const double mscale, settings.fields.NumberOr("mscale", 0.0));
  DECANT_ASSIGN_OR_RETURN(const double mscale_all, settings.fields.NumberOr("mscale_all_dim", 0.0));
  if (mscale == 0.0 || mscale_all == 0.0) return YarnMagnitude(factor, 1.0);
  const double magnitude = YarnMagnitude(factor, mscale) / YarnMagnitude(factor, mscale_all);
  if (!std::isfinite(magnitude) || magnitude <= 0.0) return OutOfRange(settings, "mscale", mscale, "a positive weight");
  return magnitude;
}

absl::Status ScaleYarn(const RopeSettings& settings, int32_t head_dim, int32_t max_positions, Rope& rope) {
  double factor = max_positions / settings.original_positions;
  if (settings.fields.Has("factor")) {
    DECANT_ASSIGN_OR_RETURN(factor, PositiveNumber(settings, "factor"));
  }
  DECANT_ASSIGN_OR_RETURN(const double magnitude, YarnAttentionFactor(settings, factor));
  rope.magnitude = static_cast<float>(magnitude);
  DECANT_ASSIGN_OR_RETURN(double beta_fast, settings.fields.NumberOr("beta_fast", 32.0));
  DECANT_ASSIGN_OR_RETURN(double beta_slow, settings.fields.NumberOr("beta_slow", 1.0));
  if (beta_fast == 0.0) beta_fast = 32.0;
  if (beta_slow == 0.0) beta_slow = 1.0;
  if (!(beta_fast > 0.0)) return OutOfRange(settings, "beta_fast", beta_fast, "above 0");
  if (!(beta_slow > 0.0)) return OutOfRange(settings, "beta_slow", beta_slow, "above 0");
  DECANT_ASSIGN_OR_RETURN(const bool truncate, settings.fields.BoolOr("truncate", true));

  // The dimension whose wave turns `rotations` times over the original positions.
  const auto dimension_of = [&](double rotations) {
    return head_dim * std::log(settings.original_positions / (rotations * 2.0 * kPi)) /
           (2.0 * std::log(settings.theta));
  };
  double low = dimension_of(beta_fast);
  double high = dimension_of(beta_slow);
  if (truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < rope.inverse_frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double plain = rope.inverse_frequencies[i];
    rope.inverse_frequencies[i] = static_cast<float>(plain / factor * ramp + plain * (1.0 - ramp));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Rope> ReadRope(const JsonFields& config, int32_t head_dim, int32_t max_positions) {
  DECANT_ASSIGN_OR_RETURN(const RopeSettings settings, ReadSettings(config, max_positions));
  Rope rope;
  rope.inverse_frequencies = PlainFrequencies(settings.theta, head_dim);
  if (settings.type == "linear") {
    DECANT_RETURN_IF_ERROR(ScaleLinear(settings, rope));
  } else if (settings.type == "llama3") {
    DECANT_RETURN_IF_ERROR(ScaleLlama3(settings, rope));
  } else if (settings.type == "yarn") {
    DECANT_RETURN_IF_ERROR(ScaleYarn(settings, head_dim, max_positions, rope));
  } else if (settings.type != "default") {
    return absl::UnimplementedError(
        absl::StrCat(settings.fields.where(), ": rope type \"", settings.type,
                     "\" is not computed by decant; it knows default, linear, llama3 and yarn. Take a model with one "
                     "of these, or remove the scaling to use the model within its original positions"));
  }
  return rope;
}

}  // namespace decant
