// The merge loop keeps the symbols of a piece in a doubly linked list and its mergeable pairs in a heap by (rank,
// position). A merge leaves stale candidates behind; one is recognised when it is popped, because its pair no longer
// merges to the id it promised.
#include "common/model/bpe.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/model/token_id.h"
#include "common/model/unicode.h"

namespace decant {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

// Both ways to write a merge: "a b" and ["a", "b"].
absl::StatusOr<std::pair<std::string, std::string>> ReadPair(const nlohmann::json& merge, const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::make_pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const std::string text = merge.get<std::string>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::make_pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(where, ": a merge must be \"a b\" or [\"a\", \"b\"], not ",
                                                 merge.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
}

}  // namespace

absl::StatusOr<Bpe> Bpe::Read(const JsonFields& tokenizer) {
  DECANT_ASSIGN_OR_RETURN(const JsonFields model, tokenizer.Object("model"));
  // Old files leave the type out.
  DECANT_ASSIGN_OR_RETURN(const std::string type, model.StringOr("type", model.Has("merges") ? "BPE" : "unknown"));
  if (type != "BPE") {
    return absl::UnimplementedError(absl::StrCat(model.where(), ": model \"", type,
                                                 "\" is not known to decant, only BPE; take a model with a byte-level "
                                                 "or Llama-2-style BPE tokenizer"));
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    DECANT_ASSIGN_OR_RETURN(const std::string value, model.StringOr(affix, ""));
    if (!value.empty()) {
      return absl::UnimplementedError(
          absl::StrCat(model.where(), ": ", affix, " is \"", value, "\"; decant knows BPE without word affixes only"));
    }
  }
  DECANT_ASSIGN_OR_RETURN(const double dropout, model.NumberOr("dropout", 0.0));
  if (dropout != 0.0) {
    return absl::UnimplementedError(
        absl::StrCat(model.where(), ": dropout is ", dropout, "; it is for training, set it to null"));
  }
  Bpe bpe;
  DECANT_RETURN_IF_ERROR(bpe.ReadVocabulary(model));
  DECANT_RETURN_IF_ERROR(bpe.ReadMerges(model));
  DECANT_ASSIGN_OR_RETURN(bpe.fuse_unknown_, model.BoolOr("fuse_unk", false));
  DECANT_ASSIGN_OR_RETURN(bpe.byte_fallback_, model.BoolOr("byte_fallback", false));
  DECANT_ASSIGN_OR_RETURN(bpe.ignore_merges_, model.BoolOr("ignore_merges", false));
  if (model.Has("unk_token")) {
    DECANT_ASSIGN_OR_RETURN(const std::string unknown, model.String("unk_token"));
    bpe.unknown_id_ = bpe.Find(unknown);
    if (bpe.unknown_id_ < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(model.where(), ": unk_token \"", unknown, "\" is not in the vocabulary"));
    }
  }
  bpe.IndexCharacters();
  return bpe;
}

absl::Status Bpe::ReadVocabulary(const JsonFields& model) {
  DECANT_ASSIGN_OR_RETURN(const JsonFields vocabulary, model.Object("vocab"));
  ids_.reserve(vocabulary.json().size());
  for (const auto& [token, id] : vocabulary.json().items()) {
    DECANT_ASSIGN_OR_RETURN(const int32_t value,
                            ReadTokenId(id, absl::StrCat(vocabulary.where(), ": \"", token, "\"")));
    if (static_cast<size_t>(value) >= tokens_.size()) tokens_.resize(static_cast<size_t>(value) + 1);
    tokens_[static_cast<size_t>(value)] = token;
    ids_.emplace(token, value);
  }
  return absl::OkStatus();
}

absl::Status Bpe::ReadMerges(const JsonFields& model) {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* merges, model.Array("merges"));
  merges_.reserve(merges->size());
  int32_t rank = 0;
  for (const nlohmann::json& merge : *merges) {
    DECANT_ASSIGN_OR_RETURN(const auto pair, ReadPair(merge, model.where()));
    const int32_t left = Find(pair.first);
    const int32_t right = Find(pair.second);
    const int32_t merged = Find(absl::StrCat(pair.first, pair.second));
    if (left < 0 || right < 0 || merged < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(model.where(), ": the merge of \"", pair.first, "\" and \"", pair.second,
                       "\" needs a token that the vocabulary does not have; the file is damaged, download it again"));
    }
    merges_.insert_or_assign(PairKey(left, right), Merge{rank++, merged});
  }
  return absl::OkStatus();
}

void Bpe::IndexCharacters() {
  for (size_t c = 0; c < low_chars_.size(); ++c) {
    std::string text;
    AppendChar(static_cast<char32_t>(c), text);
    low_chars_[c] = Find(text);
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) byte_ids_[byte] = Find(absl::StrFormat("<0x%02X>", byte));
}

int32_t Bpe::Find(absl::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? -1 : it->second;
}

int32_t Bpe::FindChar(absl::string_view text, size_t at, size_t bytes) const {
  if (bytes <= 2) {
    const char32_t c = CharAt(text, at);
    if (c < low_chars_.size()) return low_chars_[c];
  }
  return Find(text.substr(at, bytes));
}

void Bpe::Start(absl::string_view piece, std::vector<Scratch::Symbol>& symbols) const {
  symbols.clear();
  const auto add = [&symbols](int32_t id) {
    const int32_t at = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  };
  bool unknown_run = false;
  for (size_t at = 0; at < piece.size();) {
    const size_t bytes = CharBytes(piece, at);
    const absl::string_view character = piece.substr(at, bytes);
    const int32_t id = FindChar(piece, at, bytes);
    at += bytes;
    if (id >= 0) {
      if (unknown_run) add(unknown_id_);
      unknown_run = false;
      add(id);
      continue;
    }
    const auto byte_id = [this](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
    if (byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : character) add(byte_id(c));
      continue;
    }
    if (unknown_id_ < 0) continue;
    if (unknown_run && !fuse_unknown_) add(unknown_id_);
    unknown_run = true;
  }
  if (unknown_run) add(unknown_id_);
  if (!symbols.empty()) symbols.back().next = -1;
}

void Bpe::Consider(const std::vector<Scratch::Symbol>& symbols, int32_t at,
                   std::vector<Scratch::Candidate>& heap) const {
  const Scratch::Symbol& left = symbols[static_cast<size_t>(at)];
  if (left.next < 0) return;
  const auto merge = merges_.find(PairKey(left.id, symbols[static_cast<size_t>(left.next)].id));
  if (merge != merges_.end()) heap.push_back({merge->second.rank, at, merge->second.id});
}

void Bpe::MergeAll(Scratch& scratch) const {
  constexpr int32_t kMerged = -1;  // id of a symbol that its left neighbour took in
  std::vector<Scratch::Symbol>& symbols = scratch.symbols;
  std::vector<Scratch::Candidate>& heap = scratch.heap;
  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  const auto push = [&](int32_t at) {
    const size_t before = heap.size();
    Consider(symbols, at, heap);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), later);
  };
  heap.clear();
  for (size_t at = 0; at < symbols.size(); ++at) Consider(symbols, static_cast<int32_t>(at), heap);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Candidate candidate = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[static_cast<size_t>(candidate.at)];
    if (left.id == kMerged || left.next < 0) continue;
    Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    const auto merge = merges_.find(PairKey(left.id, right.id));
    if (merge == merges_.end() || merge->second.id != candidate.merged_id) continue;
    left.id = candidate.merged_id;
    left.next = right.next;
    right.id = kMerged;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = candidate.at;
    if (left.previous >= 0) push(left.previous);
    push(candidate.at);
  }
}

void Bpe::Tokenize(absl::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    const int32_t whole = Find(piece);
    if (whole >= 0) {
      ids.push_back(whole);
      return;
    }
  }
  Start(piece, scratch.symbols);
  if (scratch.symbols.empty()) return;
  MergeAll(scratch);
  for (int32_t at = 0; at >= 0; at = scratch.symbols[static_cast<size_t>(at)].next) {
    ids.push_back(scratch.symbols[static_cast<size_t>(at)].id);
  }
}

}  // namespace decant
