// Where the elements of a matrix instruction's operands lie, as the PTX ISA draws it (9.7.14.5, figures of
// "Matrix fragments for mma.m16n8k16" and "mma.m16n8k8"): "4/2" is lane 4, register 2. Written out cell by cell, apart
// from the formulas that the wrappers and the interpreter use.
#pragma once

#include <array>
#include <cstddef>
#include <sstream>
#include <string>

namespace layouts {

struct Place {
  int lane = 0, number = 0;
};

template <int rows, int columns>
using Figure = std::array<std::array<Place, size_t(columns)>, size_t(rows)>;

template <int rows, int columns>
Figure<rows, columns> read(char const* text) {
  Figure<rows, columns> result;
  std::istringstream in(text);
  char slash;
  for (auto& row : result)
    for (Place& place : row) in >> place.lane >> slash >> place.number;
  return result;
}

/// A of m16n8k16 with 16-bit elements: 16×16. A cell is two columns, the halves of a register; the lower comes first.
inline Figure<16, 8> const a_16 = read<16, 8>(R"(
   0/0  1/0  2/0  3/0  0/2  1/2  2/2  3/2
   4/0  5/0  6/0  7/0  4/2  5/2  6/2  7/2
   8/0  9/0 10/0 11/0  8/2  9/2 10/2 11/2
  12/0 13/0 14/0 15/0 12/2 13/2 14/2 15/2
  16/0 17/0 18/0 19/0 16/2 17/2 18/2 19/2
  20/0 21/0 22/0 23/0 20/2 21/2 22/2 23/2
  24/0 25/0 26/0 27/0 24/2 25/2 26/2 27/2
  28/0 29/0 30/0 31/0 28/2 29/2 30/2 31/2
   0/1  1/1  2/1  3/1  0/3  1/3  2/3  3/3
   4/1  5/1  6/1  7/1  4/3  5/3  6/3  7/3
   8/1  9/1 10/1 11/1  8/3  9/3 10/3 11/3
  12/1 13/1 14/1 15/1 12/3 13/3 14/3 15/3
  16/1 17/1 18/1 19/1 16/3 17/3 18/3 19/3
  20/1 21/1 22/1 23/1 20/3 21/3 22/3 23/3
  24/1 25/1 26/1 27/1 24/3 25/3 26/3 27/3
  28/1 29/1 30/1 31/1 28/3 29/3 30/3 31/3)");

/// B of m16n8k16 with 16-bit elements: 16×8. A cell is two rows, the halves of a register; the upper row comes first.
inline Figure<8, 8> const b_16 = read<8, 8>(R"(
   0/0  4/0  8/0 12/0 16/0 20/0 24/0 28/0
   1/0  5/0  9/0 13/0 17/0 21/0 25/0 29/0
   2/0  6/0 10/0 14/0 18/0 22/0 26/0 30/0
   3/0  7/0 11/0 15/0 19/0 23/0 27/0 31/0
   0/1  4/1  8/1 12/1 16/1 20/1 24/1 28/1
   1/1  5/1  9/1 13/1 17/1 21/1 25/1 29/1
   2/1  6/1 10/1 14/1 18/1 22/1 26/1 30/1
   3/1  7/1 11/1 15/1 19/1 23/1 27/1 31/1)");

/// C and D of both shapes, f32: 16×8.
inline Figure<16, 8> const c_32 = read<16, 8>(R"(
   0/0  0/1  1/0  1/1  2/0  2/1  3/0  3/1
   4/0  4/1  5/0  5/1  6/0  6/1  7/0  7/1
   8/0  8/1  9/0  9/1 10/0 10/1 11/0 11/1
  12/0 12/1 13/0 13/1 14/0 14/1 15/0 15/1
  16/0 16/1 17/0 17/1 18/0 18/1 19/0 19/1
  20/0 20/1 21/0 21/1 22/0 22/1 23/0 23/1
  24/0 24/1 25/0 25/1 26/0 26/1 27/0 27/1
  28/0 28/1 29/0 29/1 30/0 30/1 31/0 31/1
   0/2  0/3  1/2  1/3  2/2  2/3  3/2  3/3
   4/2  4/3  5/2  5/3  6/2  6/3  7/2  7/3
   8/2  8/3  9/2  9/3 10/2 10/3 11/2 11/3
  12/2 12/3 13/2 13/3 14/2 14/3 15/2 15/3
  16/2 16/3 17/2 17/3 18/2 18/3 19/2 19/3
  20/2 20/3 21/2 21/3 22/2 22/3 23/2 23/3
  24/2 24/3 25/2 25/3 26/2 26/3 27/2 27/3
  28/2 28/3 29/2 29/3 30/2 30/3 31/2 31/3)");

/// A of m16n8k8 in tf32: 16×8.
inline Figure<16, 8> const a_32 = read<16, 8>(R"(
   0/0  1/0  2/0  3/0  0/2  1/2  2/2  3/2
   4/0  5/0  6/0  7/0  4/2  5/2  6/2  7/2
   8/0  9/0 10/0 11/0  8/2  9/2 10/2 11/2
  12/0 13/0 14/0 15/0 12/2 13/2 14/2 15/2
  16/0 17/0 18/0 19/0 16/2 17/2 18/2 19/2
  20/0 21/0 22/0 23/0 20/2 21/2 22/2 23/2
  24/0 25/0 26/0 27/0 24/2 25/2 26/2 27/2
  28/0 29/0 30/0 31/0 28/2 29/2 30/2 31/2
   0/1  1/1  2/1  3/1  0/3  1/3  2/3  3/3
   4/1  5/1  6/1  7/1  4/3  5/3  6/3  7/3
   8/1  9/1 10/1 11/1  8/3  9/3 10/3 11/3
  12/1 13/1 14/1 15/1 12/3 13/3 14/3 15/3
  16/1 17/1 18/1 19/1 16/3 17/3 18/3 19/3
  20/1 21/1 22/1 23/1 20/3 21/3 22/3 23/3
  24/1 25/1 26/1 27/1 24/3 25/3 26/3 27/3
  28/1 29/1 30/1 31/1 28/3 29/3 30/3 31/3)");

/// B of m16n8k8 in tf32: 8×8.
inline Figure<8, 8> const b_32 = read<8, 8>(R"(
   0/0  4/0  8/0 12/0 16/0 20/0 24/0 28/0
   1/0  5/0  9/0 13/0 17/0 21/0 25/0 29/0
   2/0  6/0 10/0 14/0 18/0 22/0 26/0 30/0
   3/0  7/0 11/0 15/0 19/0 23/0 27/0 31/0
   0/1  4/1  8/1 12/1 16/1 20/1 24/1 28/1
   1/1  5/1  9/1 13/1 17/1 21/1 25/1 29/1
   2/1  6/1 10/1 14/1 18/1 22/1 26/1 30/1
   3/1  7/1 11/1 15/1 19/1 23/1 27/1 31/1)");

/// An 8×8 matrix of ldmatrix: the lane that receives a pair of neighbours in a row, the left one below; with .trans of
/// neighbours in a column.
inline Figure<8, 4> const loaded = read<8, 4>(R"(
   0/0  1/0  2/0  3/0
   4/0  5/0  6/0  7/0
   8/0  9/0 10/0 11/0
  12/0 13/0 14/0 15/0
  16/0 17/0 18/0 19/0
  20/0 21/0 22/0 23/0
  24/0 25/0 26/0 27/0
  28/0 29/0 30/0 31/0)");

}  // namespace layouts
