#include "common/model/tokenizer.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/added_tokens.h"
#include "common/model/bpe.h"
#include "common/model/decoder.h"
#include "common/model/json_fields.h"
#include "common/model/normalizer.h"
#include "common/model/post_processor.h"
#include "common/model/pre_tokenizer.h"
#include "common/model/unicode.h"

namespace decant {
namespace {

// Positions inside the tokenizer are 32 bits wide, and a byte may become two.
constexpr size_t kMaxTextBytes = size_t{1} << 28;

struct Parts {
  Bpe bpe;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  Decoder decoder;
  std::vector<AddedToken> added;
};

absl::StatusOr<Parts> ReadParts(const JsonFields& json) {
  DECANT_ASSIGN_OR_RETURN(Bpe bpe, Bpe::Read(json));
  DECANT_ASSIGN_OR_RETURN(Normalizer normalizer, Normalizer::Read(json));
  DECANT_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Read(json));
  DECANT_ASSIGN_OR_RETURN(PostProcessor post_processor, ReadPostProcessor(json));
  DECANT_ASSIGN_OR_RETURN(Decoder decoder, Decoder::Read(json));
  DECANT_ASSIGN_OR_RETURN(std::vector<AddedToken> added, ReadAddedTokens(json));
  return Parts{std::move(bpe),     std::move(normalizer), std::move(pre_tokenizer), std::move(post_processor),
               std::move(decoder), std::move(added)};
}

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(Parts parts, Digest fingerprint) : parts_(std::move(parts)), fingerprint_(fingerprint) {}

  // The part of opening that can fail.
  absl::Status IndexTokens() {
    tokens_ = parts_.bpe.tokens();
    special_.resize(tokens_.size());
    for (const AddedToken& token : parts_.added) {
      const size_t id = static_cast<size_t>(token.id);
      if (id >= tokens_.size()) tokens_.resize(id + 1);
      if (id >= special_.size()) special_.resize(id + 1);
      tokens_[id] = token.content;
      special_[id] = token.special;
      if (!token.normalized) {
        verbatim_.Add(token, token.content);
        continue;
      }
      DECANT_ASSIGN_OR_RETURN(const std::string spelling, parts_.normalizer.Apply(token.content));
      normalized_.Add(token, spelling);
      // The reference gives back what it looked for.
      tokens_[id] = spelling;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const override {
    const size_t valid = ValidUtf8Prefix(text);
    if (valid != text.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the text is not valid UTF-8 at byte ", valid, " of ", text.size(), "; send UTF-8"));
    }
    if (text.size() > kMaxTextBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("the text has ", text.size(), " bytes; at most ", kMaxTextBytes, " can be tokenised at once"));
    }
    std::vector<int32_t> ids = parts_.post_processor.before;
    Bpe::Scratch scratch;
    for (const Fragment& fragment : verbatim_.Cut(text)) {
      if (fragment.id >= 0) {
        ids.push_back(fragment.id);
      } else {
        const bool at_start = fragment.text.data() == text.data();
        DECANT_RETURN_IF_ERROR(EncodeFragment(fragment.text, at_start, scratch, ids));
      }
    }
    ids.insert(ids.end(), parts_.post_processor.after.begin(), parts_.post_processor.after.end());
    return ids;
  }

  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocabulary()) {
        return absl::InvalidArgumentError(
            absl::StrCat("token id ", id, " is outside the vocabulary of ", vocabulary(), " tokens"));
      }
      const std::string& token = tokens_[static_cast<size_t>(id)];
      if (token.empty() || (skip_special && special_[static_cast<size_t>(id)])) continue;
      tokens.push_back(token);
    }
    return parts_.decoder.Join(std::move(tokens));
  }

  int32_t vocabulary() const override { return static_cast<int32_t>(tokens_.size()); }
  Digest fingerprint() const override { return fingerprint_; }

 private:
  absl::Status EncodeFragment(absl::string_view text, bool at_start, Bpe::Scratch& scratch,
                              std::vector<int32_t>& ids) const {
    DECANT_ASSIGN_OR_RETURN(const std::string normal, parts_.normalizer.Apply(std::string(text)));
    for (const Fragment& fragment : normalized_.Cut(normal)) {
      if (fragment.id >= 0) {
        ids.push_back(fragment.id);
        continue;
      }
      const bool first = at_start && fragment.text.data() == normal.data();
      DECANT_ASSIGN_OR_RETURN(const std::vector<Piece> pieces,
                              parts_.pre_tokenizer.Apply({std::string(fragment.text), first}));
      for (const Piece& piece : pieces) parts_.bpe.Tokenize(piece.text, scratch, ids);
    }
    return absl::OkStatus();
  }

  Parts parts_;
  Digest fingerprint_;
  std::vector<std::string> tokens_;  // by id, added tokens included
  std::vector<bool> special_;
  AddedTokenFinder verbatim_;
  AddedTokenFinder normalized_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  DECANT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(text, path));
  DECANT_ASSIGN_OR_RETURN(const JsonFields json, JsonFields::Of(parsed, path));
  DECANT_ASSIGN_OR_RETURN(Parts parts, ReadParts(json));
  auto tokenizer = std::make_unique<BpeTokenizer>(std::move(parts), Sha256(text));
  absl::Status indexed = tokenizer->IndexTokens();
  if (!indexed.ok()) return absl::Status(indexed.code(), absl::StrCat(path, ": ", indexed.message()));
  return tokenizer;
}

}  // namespace decant
