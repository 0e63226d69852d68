#include "model_loader/tokenizer_json/bpe.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "base/refusal.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model_loader/tokenizer_json/byte_alphabet.h"

namespace fmaserver::model {

MergeTable::MergeTable(const std::vector<BpeModel::Merge>& merges) {
  ranks_.reserve(merges.size());
  products_.reserve(merges.size());
  for (const BpeModel::Merge& merge : merges) {
    ranks_.insert_or_assign(KeyOf(merge.left, merge.right), static_cast<Rank>(products_.size()));
    products_.push_back(merge.product);
  }
}

Bpe::Bpe(const BpeModel& model, Unit unit)
    : unit_(unit),
      merges_(model.merges),
      unknown_id_(model.unknown_id),
      fuse_unknown_(model.fuse_unknown),
      ignore_merges_(model.ignore_merges),
      is_whole_(model.tokens.size()),
      boundaries_(unit) {}

absl::StatusOr<Bpe> Bpe::Create(const BpeModel& model, Unit unit, std::string_view origin) {
  const bool byte_level = unit == Unit::kByte;
  if (byte_level && model.byte_fallback) {
    return Refusal(At(origin, "\"model.byte_fallback\""), true, "false with ByteLevel");
  }
  if (!byte_level && !model.byte_fallback && !model.unknown_id.has_value()) {
    return Refusal(At(origin, "\"model.unk_token\""), Words{"null"},
                   "a token, unless there is \"byte_fallback\" or ByteLevel");
  }
  Bpe bpe(model, unit);
  if (absl::Status status = bpe.FindByteTokens(model, origin); !status.ok()) return status;
  bpe.AddSpellings(model);
  bpe.FindBoundaries(model);
  bpe.FindWholeTokens();
  return bpe;
}

absl::Status Bpe::FindByteTokens(const BpeModel& model, std::string_view origin) {
  std::vector<bool> never_merges(model.tokens.size());
  if (unknown_id_.has_value()) never_merges[*unknown_id_] = true;
  if (model.byte_fallback) {
    absl::flat_hash_map<std::string, int32_t> ids;
    for (size_t id = 0; id < model.tokens.size(); ++id) ids.emplace(model.tokens[id], id);
    byte_ids_.emplace();
    for (size_t byte = 0; byte < byte_ids_->size(); ++byte) {
      const std::string name = absl::StrFormat("<0x%02X>", byte);
      const auto id = ids.find(name);
      if (id == ids.end()) {
        return Refusal(At(origin, Concat("\"model.vocab\": ", Quoted(name))), Words{"missing"},
                       "all of <0x00> to <0xFF> with \"byte_fallback\"");
      }
      (*byte_ids_)[byte] = id->second;
      never_merges[id->second] = true;
    }
  }
  for (size_t i = 0; i < model.merges.size(); ++i) {
    const auto& [left, right, product] = model.merges[i];
    if (!never_merges[left] && !never_merges[right] && !never_merges[product]) continue;
    return Refusal(At(origin, Concat("\"model.merges[", i, "]\"")),
                   Concat(model.tokens[left], " ", model.tokens[right]),
                   "merges without \"unk_token\" and byte tokens");
  }
  return absl::OkStatus();
}

void Bpe::AddSpellings(const BpeModel& model) {
  id_of_byte_.fill(MergeTable::kUnknown);
  for (size_t i = 0; i < model.tokens.size(); ++i) {
    if (model.tokens[i].empty()) continue;
    const std::optional<std::string> spelling =
        unit_ == Unit::kByte ? BytesOfSpelling(model.tokens[i]) : model.tokens[i];
    if (!spelling.has_value()) continue;  // no text is turned into it
    const auto id = static_cast<int32_t>(i);
    if (spelling->size() == 1) id_of_byte_[static_cast<unsigned char>(spelling->front())] = id;
    longest_ = std::max(longest_, spelling->size());
    ids_.emplace(*spelling, id);
  }
}

void Bpe::FindBoundaries(const BpeModel& model) {
  for (const BpeModel::Merge& merge : model.merges) {
    if (unit_ == Unit::kCharacter) {
      boundaries_.Join(model.tokens[merge.product]);
    } else if (const auto bytes = BytesOfSpelling(model.tokens[merge.product])) {
      boundaries_.Join(*bytes);
    }
  }
  if (unit_ != Unit::kByte || unknown_id_.has_value()) return;
  // Bytes without a token are left out, and those on their sides become neighbours.
  for (int byte = 0; byte < 256; ++byte) {
    if (id_of_byte_[byte] < 0) boundaries_.JoinEverywhere(static_cast<char>(byte));
  }
}

void Bpe::FindWholeTokens() {
  Encoder encoder(*this);
  std::vector<int32_t> ids;
  for (const auto& [text, id] : ids_) {
    ids.clear();
    encoder.AppendMerged(text, ids);
    is_whole_[id] = ids.size() == 1 && ids.front() == id;
  }
}

std::optional<int32_t> Bpe::IdOf(std::string_view text) const {
  if (text.size() == 1) {
    const int32_t id = id_of_byte_[static_cast<unsigned char>(text.front())];
    return id < 0 ? std::nullopt : std::optional(id);
  }
  if (text.size() > longest_) return std::nullopt;
  const auto id = ids_.find(ToAbsl(text));
  return id == ids_.end() ? std::nullopt : std::optional(id->second);
}

void Bpe::Encoder::Append(std::string_view word, std::vector<int32_t>& ids) {
  const std::optional<int32_t> whole = bpe_.IdOf(word);
  if (whole.has_value() && (bpe_.ignore_merges_ || bpe_.is_whole_[*whole])) {
    ids.push_back(*whole);
  } else {
    AppendMerged(word, ids);
  }
}

void Bpe::Encoder::AppendMerged(std::string_view word, std::vector<int32_t>& ids) {
  bool after_unknown = false;
  const auto emit = [&](int32_t id) {
    const bool unknown = id == MergeTable::kUnknown;
    if (!(unknown && after_unknown && bpe_.fuse_unknown_)) {
      ids.push_back(unknown ? *bpe_.unknown_id_ : id);
    }
    after_unknown = unknown;
  };
  while (!word.empty()) {
    const std::string_view stretch = word.substr(0, bpe_.boundaries_.FirstStretch(word));
    word.remove_prefix(stretch.size());
    const std::optional<int32_t> whole = bpe_.IdOf(stretch);
    if (whole.has_value() && bpe_.is_whole_[*whole]) {
      emit(*whole);
    } else {
      AppendUnits(stretch);
      merger_.Finish(emit);
    }
  }
}

void Bpe::Encoder::AppendUnits(std::string_view stretch) {
  merger_.Reserve(bpe_.unit_ == Unit::kByte
                      ? stretch.size()
                      : std::count_if(stretch.begin(), stretch.end(), BeginsCharacter));
  while (!stretch.empty()) {
    const size_t size = bpe_.unit_ == Unit::kByte ? 1 : NextUtf8(stretch).length;
    const std::string_view unit = stretch.substr(0, size);
    stretch.remove_prefix(size);
    if (const std::optional<int32_t> id = bpe_.IdOf(unit); id.has_value()) {
      merger_.Append(*id);
    } else if (bpe_.byte_ids_.has_value()) {
      for (const char byte : unit) merger_.Append((*bpe_.byte_ids_)[static_cast<uint8_t>(byte)]);
    } else if (bpe_.unknown_id_.has_value()) {
      merger_.Append(MergeTable::kUnknown);
    }
  }
}

}  // namespace fmaserver::model
