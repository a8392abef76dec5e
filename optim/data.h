// Text as a sequence of character indices, and batches of windows drawn from it.
#pragma once

#include <heed/engine/random.h>
#include <heed/engine/tensor.h>

#include <string>
#include <string_view>
#include <vector>

namespace heed::optim {

/// The distinct characters of a text, sorted: UTF-8 code points where the text is valid UTF-8, else bytes.
class CharacterVocabulary {
 public:
  CharacterVocabulary() = default;
  explicit CharacterVocabulary(std::vector<std::string> characters);
  static CharacterVocabulary of(std::string_view text);

  int64_t size() const { return int64_t(characters_.size()); }
  std::vector<std::string> const& characters() const { return characters_; }
  /// An Error that names the character and its place where it is unknown.
  std::vector<int64_t> encode(std::string_view text) const;
  std::string decode(std::vector<int64_t> const& tokens) const;

 private:
  std::vector<std::string> characters_;
};

struct Batch {
  Tensor inputs, targets;  // [B, T] i64; targets are the inputs one position on
};

/// Tokens split into a training part and the validation part at the end.
class TokenDataset {
 public:
  /// An Error unless both parts hold at least one window of `block` + 1 tokens.
  TokenDataset(std::vector<int64_t> tokens, int64_t block, double validation_share);
  /// `count` training windows at random places; where the generator stands is the data position.
  Batch random_batch(int64_t count, Generator& generator) const;
  /// The validation part as consecutive windows, `count` at a time (the last batch may be smaller).
  std::vector<Batch> validation_batches(int64_t count) const;
  int64_t training_tokens() const { return training_; }
  int64_t validation_tokens() const { return int64_t(tokens_.size()) - training_; }

 private:
  Batch windows(std::vector<int64_t> const& starts) const;
  std::vector<int64_t> tokens_;
  int64_t block_, training_;
};

}  // namespace heed::optim
