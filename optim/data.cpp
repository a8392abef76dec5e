#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/data.h>

#include <algorithm>
#include <set>
#include <unordered_map>

namespace heed::optim {
namespace {

/// Bytes of the UTF-8 sequence that starts at text[i]; 0 where it is malformed.
size_t sequence_length(std::string_view text, size_t i) {
  auto const lead = static_cast<unsigned char>(text[i]);
  size_t const length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
  if (length == 0 || i + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k)
    if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return 0;
  return length;
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    size_t const n = sequence_length(text, i);
    if (n == 0) return false;
    i += n;
  }
  return true;
}

template <class F>
void for_each_character(std::string_view text, bool utf8, F f) {
  for (size_t i = 0; i < text.size();) {
    size_t const n = utf8 ? std::max(sequence_length(text, i), size_t{1}) : 1;
    f(text.substr(i, n));
    i += n;
  }
}

}  // namespace

CharacterVocabulary::CharacterVocabulary(std::vector<std::string> characters) : characters_(std::move(characters)) {}

CharacterVocabulary CharacterVocabulary::of(std::string_view text) {
  std::set<std::string, std::less<>> distinct;
  for_each_character(text, is_utf8(text), [&](std::string_view c) {
    if (!distinct.contains(c)) distinct.emplace(c);
  });
  return CharacterVocabulary({distinct.begin(), distinct.end()});
}

std::vector<int64_t> CharacterVocabulary::encode(std::string_view text) const {
  std::unordered_map<std::string_view, int64_t> index;
  bool wide = false, bytes = false;  // a single byte above 0x7F comes from a text that is not UTF-8
  for (size_t i = 0; i < characters_.size(); ++i) {
    std::string const& c = characters_[i];
    index[c] = int64_t(i);
    wide |= c.size() > 1;
    bytes |= c.size() == 1 && static_cast<unsigned char>(c[0]) > 0x7F;
  }
  std::vector<int64_t> tokens;
  tokens.reserve(text.size());
  for_each_character(text, !bytes && (wide || is_utf8(text)), [&](std::string_view c) {
    auto const found = index.find(c);
    check(found != index.end(), "encode", [&] {
      return Complaint{fmt::format("the character '{}' (number {}) is not among the {} that the model knows", c,
                                   tokens.size(), size()),
                       "use characters of the training text"};
    });
    tokens.push_back(found->second);
  });
  return tokens;
}

std::string CharacterVocabulary::decode(std::vector<int64_t> const& tokens) const {
  std::string text;
  for (int64_t token : tokens) {
    check(token >= 0 && token < size(), "decode", [&] {
      return Complaint{fmt::format("token {} is outside the vocabulary of {}", token, size()),
                       "decode with the model's own vocabulary"};
    });
    text += characters_[size_t(token)];
  }
  return text;
}

TokenDataset::TokenDataset(std::vector<int64_t> tokens, int64_t block, double validation_share)
    : tokens_(std::move(tokens)), block_(block) {
  check(validation_share > 0 && validation_share < 1, "TokenDataset", [&] {
    return Complaint{fmt::format("expected a validation share between 0 and 1, got {}", validation_share), "use 0.1"};
  });
  auto const n = int64_t(tokens_.size());
  training_ = int64_t(double(n) * (1 - validation_share));
  check(std::min(training_, n - training_) > block, "TokenDataset", [&] {
    return Complaint{fmt::format("expected more than {} tokens in the training and the validation part, got {} and {}",
                                 block, training_, n - training_),
                     n == 0 ? "the text is empty: pass another" : "pass a longer text, or choose a smaller block"};
  });
}

Batch TokenDataset::windows(std::vector<int64_t> const& starts) const {
  auto const count = int64_t(starts.size());
  Batch batch{Tensor({count, block_}, Dtype::i64), Tensor({count, block_}, Dtype::i64)};
  for (int64_t b = 0; b < count; ++b) {
    auto const from = tokens_.begin() + starts[size_t(b)];
    std::copy(from, from + block_, batch.inputs.data<int64_t>() + b * block_);
    std::copy(from + 1, from + 1 + block_, batch.targets.data<int64_t>() + b * block_);
  }
  return batch;
}

Batch TokenDataset::random_batch(int64_t count, Generator& generator) const {
  return windows(randint(0, training_ - block_, {count}, generator).to_vector<int64_t>());
}

std::vector<Batch> TokenDataset::validation_batches(int64_t count) const {
  std::vector<Batch> batches;
  std::vector<int64_t> starts;
  auto const end = int64_t(tokens_.size());
  for (int64_t start = training_; start + block_ + 1 <= end; start += block_) {
    starts.push_back(start);
    if (int64_t(starts.size()) == count || start + 2 * block_ + 1 > end) {
      batches.push_back(windows(starts));
      starts.clear();
    }
  }
  return batches;
}

}  // namespace heed::optim
